"""Comparison of an exported model with PyTorch."""

from typing import Any

import numpy as np
import pytest

from convsmith.errors import ParityError
from convsmith.exporters.parity import compare
from convsmith.models.classifier import Classifier


def test_the_error_names_the_first_image_that_differs(digits: Classifier, images: Any) -> None:
    class Wrong:
        """Computes the correct logits, except for one image."""

        def run(self, _: Any, inputs: dict[str, Any]) -> list[Any]:
            logits = digits.logits(inputs["images"])
            logits[(inputs["images"] == images.test.images[17]).all((1, 2, 3))] += np.eye(
                10, dtype=np.float32
            )[3]
            return [logits, digits.probabilities(logits).astype(np.float32)]

    names = [f"image {number}" for number in range(len(images.test))]
    with pytest.raises(ParityError) as caught:
        compare(digits, Wrong(), images.test.images, names, images.test.labels)
    assert "first at image 17: " in str(caught.value)
    # Without this image there is no difference, for a single image and without labels too.
    parity = compare(digits, Wrong(), images.test.images[:17], names)
    assert (parity.difference, parity.agreement, parity.accuracy) == (0, 1, None)
    assert compare(digits, Wrong(), images.test.images[:1], names).images == 1
