"""Image files, and the preprocessing rules that they are read by."""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from convsmith.models.bundle_schema import Preprocessing

GREY = Preprocessing(channels=1, height=8, width=8, mean=(0.5,), std=(0.25,))
COLOUR = Preprocessing(channels=3, height=8, width=8, mean=(0.2, 0.4, 0.6), std=(0.25, 0.25, 0.25))


def saved(path: Path, image: np.ndarray | Image.Image, **options: Any) -> str:
    """Write an image and return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = image if isinstance(image, Image.Image) else Image.fromarray(np.squeeze(image))
    picture.save(path, **options)
    return str(path)
