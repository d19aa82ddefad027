"""Ten thousand classes of two images: every step ends, with the right numbers."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import convsmith as cs

CLASSES = 10_000


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["arrays", "folders"])
def test_verification_description_training_and_report_end(layout: str, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2, CLASSES, 8, 8), dtype=np.uint8)
    source = tmp_path / ("set.npz" if layout == "arrays" else "set")
    if layout == "arrays":
        labels = np.arange(CLASSES)
        np.savez(source, x_train=pixels[0], y_train=labels, x_test=pixels[1], y_test=labels)
    else:
        for split, images in zip(("train", "test"), pixels, strict=True):
            for number, image in enumerate(images):
                folder = source / split / f"class {number:05}"
                folder.mkdir(parents=True)
                Image.fromarray(image).save(folder / "0.png")
    verification = cs.verify_data(str(source))
    assert verification.counts == {"few images": CLASSES}
    page = tmp_path / "data.html"
    assert sum(cs.describe_data(str(source), report=page).splits.values()) == 2 * CLASSES
    assert page.stat().st_size < 5_000_000
    options = (f"data.source={source}", f"model.net=C8 / G F{CLASSES}", "train.epochs=1", "brief=false")
    result = cs.train(cs.load_recipe("digits", *options), runs=tmp_path / "runs")
    assert result.test.total == CLASSES
    assert (result.folder / "report.html").stat().st_size < 20_000_000
