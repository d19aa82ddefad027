"""CutMix: paste rectangles of other images, and blend the labels by area."""

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from convsmith.data.augment.mix import Mix

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import Tensor


class CutMix(Mix):
    """Paste a rectangle of another image of the batch into each image, and blend the labels by its area.

    Yun et al., "CutMix: Regularization Strategy to Train Strong Classifiers with Localizable Features",
    arXiv 1905.04899.
    """

    source_summary: ClassVar = "Paste a rectangle of another image into each (CutMix, arXiv 1905.04899)."
    source_body: ClassVar = """\
    inside = []
    for length in images.shape[2:]:
        half = (1 - share).sqrt() * length / 2
        centre = torch.randint(length, (count,), device=images.device)
        places = torch.arange(length, device=images.device)
        low, high = (centre - half).round(), (centre + half).round()
        inside.append((places >= low[:, None]) & (places < high[:, None]))
    pasted = inside[0][:, :, None] & inside[1][:, None, :]
    images = torch.where(pasted[:, None], images[partner], images)
    share = 1 - pasted.float().mean(dim=(1, 2))
"""

    name: Literal["cutmix"]
    alpha: float = Field(
        default=1.0, gt=0, le=100, description="parameter of the beta distribution of the area"
    )

    def combine(
        self, images: "Tensor", partner: "Tensor", share: "np.ndarray", rng: "np.random.Generator"
    ) -> "tuple[Tensor, Tensor]":
        import torch

        pasted = _rectangles(share, images.shape[2:], rng).to(images.device, non_blocking=True)
        kept = 1 - pasted.float().mean(dim=(1, 2))
        return torch.where(pasted[:, None], images[partner], images), kept


def _rectangles(share: "np.ndarray", size: "torch.Size", rng: "np.random.Generator") -> "Tensor":
    """Return masks `(N, H, W)` of rectangles of area `1 - share`, cut off at the edges of the image."""
    import numpy as np
    import torch

    masks = []
    for length in size:
        half = np.sqrt(1 - share) * length / 2
        centre = rng.integers(0, length, len(share))
        positions = np.arange(length)
        low, high = np.round(centre - half)[:, None], np.round(centre + half)[:, None]
        masks.append((positions >= low) & (positions < high))
    rows, columns = masks
    return torch.from_numpy(rows[:, :, None] & columns[:, None, :])
