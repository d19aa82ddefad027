"""CutMix."""

import torch

from convsmith.data.augment.mixes.cutmix import CutMix
from helpers.augmentation import batch


def test_labels_are_blended_by_the_pasted_area() -> None:
    images, targets = batch()
    mixed, labels = CutMix(name="cutmix", p=1.0).apply(images, targets, seed=3)
    for index, (image, label) in enumerate(zip(mixed, labels, strict=True)):
        assert set(image.unique().tolist()) <= {float(index), *label.nonzero().flatten().tolist()}
        own = (image[0] == index).float().mean()
        assert torch.isclose(label[index], own, atol=1e-6)
        rows, columns = torch.nonzero(image[0] != index, as_tuple=True)
        if len(rows):
            assert len(rows) == (rows.max() - rows.min() + 1) * (columns.max() - columns.min() + 1)
