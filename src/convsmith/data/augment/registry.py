"""The closed registries of transforms and mixes, one line each.

Names in recipes are looked up here, so no file can name an import path.
"""

from convsmith.data.augment.mixes.cutmix import CutMix
from convsmith.data.augment.mixes.mixup import Mixup
from convsmith.data.augment.transforms.blur import Blur
from convsmith.data.augment.transforms.coarse_dropout import CoarseDropout
from convsmith.data.augment.transforms.color_jitter import ColorJitter
from convsmith.data.augment.transforms.cutout import Cutout
from convsmith.data.augment.transforms.gaussian_blur import GaussianBlur
from convsmith.data.augment.transforms.horizontal_flip import HorizontalFlip
from convsmith.data.augment.transforms.rand_augment import RandAugment
from convsmith.data.augment.transforms.random_brightness_contrast import RandomBrightnessContrast
from convsmith.data.augment.transforms.random_crop import RandomCrop
from convsmith.data.augment.transforms.random_erasing import RandomErasing
from convsmith.data.augment.transforms.shift_scale_rotate import ShiftScaleRotate
from convsmith.data.augment.transforms.trivial_augment import TrivialAugment
from convsmith.data.augment.transforms.vertical_flip import VerticalFlip

TRANSFORMS = (
    HorizontalFlip,
    ShiftScaleRotate,
    CoarseDropout,
    RandomCrop,
    Cutout,
    RandomBrightnessContrast,
    ColorJitter,
    RandomErasing,
    VerticalFlip,
    GaussianBlur,
    Blur,
    RandAugment,
    TrivialAugment,
)
MIXES = (Mixup, CutMix)
