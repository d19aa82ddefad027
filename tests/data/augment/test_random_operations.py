"""The text of RandAugment and TrivialAugment in ejected projects runs, and does what the engine does."""

from typing import Any

import albumentations
import cv2
import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from convsmith.data.augment.config import AugmentConfig
from helpers.augmentation import MEAN, varied


@pytest.mark.parametrize(
    "table",
    [
        {"name": "RandAugment", "num_operations": 3, "magnitude": 20},
        {"name": "RandAugment", "border": "reflect"},
        {"name": "TrivialAugment", "border": "black"},
    ],
)
def test_the_text_does_what_the_engine_does(table: dict[str, Any]) -> None:
    (transform,) = AugmentConfig.model_validate({"transforms": [table]}).transforms
    mean = tuple(255 * value for value in MEAN)
    names = {"A": albumentations, "cv2": cv2, "np": np, "Image": Image, "FILL": mean}
    scope: dict[str, Any] = {**names, "ImageOps": ImageOps, "ImageEnhance": ImageEnhance}
    exec(transform.definitions, scope)  # noqa: S102 - the text of a project
    (text,) = eval(f"({transform.source((3, 32, 32), 0)})", scope)  # noqa: S307
    pipelines = [albumentations.Compose([each]) for each in (text, transform.to_albumentations(mean))]
    images = varied(30)
    outputs = []
    for pipeline in pipelines:
        pipeline.set_random_seed(3)
        outputs.append(np.stack([pipeline(image=image)["image"] for image in images]))
    # The text has four digits of each range.
    apart = np.abs(outputs[0].astype(int) - outputs[1])
    assert np.mean(apart > 1) < 0.001
    assert (outputs[0] != images).any()
