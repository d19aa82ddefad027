"""How strong the operations of RandAugment and TrivialAugment are; without PyTorch, as recipes are read."""

from dataclasses import dataclass

OPERATIONS = (
    "Identity",
    "AutoContrast",
    "Equalize",
    "Rotate",
    "Solarize",
    "Color",
    "Posterize",
    "Contrast",
    "Brightness",
    "Sharpness",
    "ShearX",
    "ShearY",
    "TranslateX",
    "TranslateY",
)
# Magnitudes are 0 to 30.
LEVELS = 31


@dataclass(frozen=True, kw_only=True)
class Strengths:
    """The values of operations at the largest magnitude, 30. At 0 nothing changes; between, they are linear.

    Attributes:
        rotate: Degrees.
        shear: Pixels across for each pixel down, and down for each pixel across.
        translate: A share of the side below 1, else pixels.
        factor: The largest distance from 1 of the factors of color, contrast, brightness and sharpness.
        bits: The bits that posterize removes, of 8.
    """

    rotate: float
    shear: float
    translate: float
    factor: float
    bits: int

    def shift(self, side: int) -> float:
        """Return the shift in pixels of images of a side.

        >>> AUTO_AUGMENT.shift(331), WIDE.shift(331)
        (150.0, 32)
        """
        return self.translate * side if self.translate < 1 else self.translate


# The ranges of AutoAugment, whose 150 pixels are a share of its images of 331 pixels; RandAugment uses them.
AUTO_AUGMENT = Strengths(rotate=30, shear=0.3, translate=150 / 331, factor=0.9, bits=4)
# The wide ranges of TrivialAugment, table 7 of its paper.
WIDE = Strengths(rotate=135, shear=0.99, translate=32, factor=0.99, bits=6)
