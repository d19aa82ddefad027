"""RandAugment and TrivialAugment image by image, with Pillow: the reference of both papers.

The text of the class stands in ejected projects too, so it is formatted for lines of 88 characters.
"""

import albumentations as A  # noqa: N812 - its usual name, as in the text of ejected projects
import cv2
import numpy as np
from PIL import Image, ImageEnhance, ImageOps


class RandomOperations(A.ImageOnlyTransform):  # type: ignore[misc]
    """Apply random operations in turn (arXiv 1909.13719, arXiv 2103.10158).

    One of `magnitudes`, from 0 to 30, is drawn for each operation; the arguments after
    it are the values at 30. `translate` is a share of the side below 1, else pixels.
    """

    def __init__(
        self,
        *,
        number: int,
        magnitudes: range | tuple[int, ...],
        rotate: float,
        shear: float,
        translate: float,
        factor: float,
        bits: int,
        border_mode: int = cv2.BORDER_CONSTANT,
        fill: float | tuple[float, ...] = 0,
        p: float = 1.0,
    ) -> None:
        super().__init__(p=p)
        self.number, self.magnitudes, self.bits = number, magnitudes, bits
        self.rotate, self.shear, self.translate = rotate, shear, translate
        self.factor, self.border_mode, self.fill = factor, border_mode, fill

    def get_params(self) -> dict[str, list[tuple[str, float]]]:
        names = ["Identity", "AutoContrast", "Equalize", "Posterize", "Solarize"]
        names += ["Color", "Contrast", "Brightness", "Sharpness", "Rotate"]
        names += ["ShearX", "ShearY", "TranslateX", "TranslateY"]
        draw = self.py_random
        operations = []
        for _ in range(self.number):
            strength = draw.choice((-1, 1)) * draw.choice(self.magnitudes) / 30
            operations.append((draw.choice(names), strength))
        return {"operations": operations}

    def apply(
        self,
        img: np.ndarray,
        operations: list[tuple[str, float]],
        **_: object,
    ) -> np.ndarray:
        for name, strength in operations:
            img = self.change(img, name, strength).reshape(img.shape)
        return img

    def change(self, image: np.ndarray, name: str, strength: float) -> np.ndarray:
        """Apply an operation; the strength is between -1 and 1."""
        picture = Image.fromarray(image[..., 0] if image.shape[2] == 1 else image)
        if name == "AutoContrast":
            return np.asarray(ImageOps.autocontrast(picture))
        if name == "Equalize":
            return np.asarray(ImageOps.equalize(picture))
        if name == "Posterize":
            bits = 8 - round(self.bits * abs(strength))
            return np.asarray(ImageOps.posterize(picture, bits))
        if name == "Solarize":
            threshold = round(256 - 256 * abs(strength))
            return np.asarray(ImageOps.solarize(picture, threshold))
        if name in {"Color", "Contrast", "Brightness", "Sharpness"}:
            enhance = getattr(ImageEnhance, name)(picture).enhance
            return np.asarray(enhance(1 + self.factor * strength))
        return image if name == "Identity" else self.move(image, name, strength)

    def move(self, image: np.ndarray, name: str, strength: float) -> np.ndarray:
        """Rotate about the centre, shear about the corner at the top left, or shift."""
        height, width = image.shape[:2]
        (a, b, c), (d, e, f) = (1.0, 0.0, 0.0), (0.0, 1.0, 0.0)
        shear = self.shear * strength
        if name == "Rotate":
            middle, centre = (width - 1) / 2, (height - 1) / 2
            angle = np.deg2rad(self.rotate * strength)
            a = e = np.cos(angle)
            d = np.sin(angle)
            b = -d
            c, f = middle - a * middle - b * centre, centre - d * middle - e * centre
        elif name == "ShearX":
            b, c = shear, shear / 2
        elif name == "ShearY":
            d, f = shear, shear / 2
        else:
            side = width if name == "TranslateX" else height
            most = self.translate * side if self.translate < 1 else self.translate
            c, f = (1.0, 0.0) if name == "TranslateX" else (0.0, 1.0)
            c, f = c * int(most * strength), f * int(most * strength)
        return cv2.warpAffine(
            image,
            np.array([[a, b, c], [d, e, f]]),
            (width, height),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=self.border_mode,
            borderValue=self.fill,
        )
