"""mixup: blend images and labels."""

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from convsmith.data.augment.mix import Mix, blend

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor


class Mixup(Mix):
    """Blend each image, and its label, with another one of the batch; the share follows Beta(alpha, alpha).

    Zhang et al., "mixup: Beyond Empirical Risk Minimization", arXiv 1710.09412.

    Example:
        >>> import torch
        >>> images, targets = torch.tensor([0.0, 1.0]).view(2, 1, 1, 1), torch.eye(2)
        >>> mixed, labels = Mixup(name="mixup", alpha=1.0, p=1.0).apply(images, targets, seed=0)
        >>> bool(torch.allclose(mixed.flatten(), labels[:, 1]))
        True
    """

    source_summary: ClassVar = "Blend each image, and its label, with another (mixup, arXiv 1710.09412)."
    source_body: ClassVar = """\
    images = torch.lerp(images[partner], images, share.view(-1, 1, 1, 1))
"""

    name: Literal["mixup"]
    alpha: float = Field(default=0.2, gt=0, le=100, description="parameter of the beta distribution")

    def combine(
        self, images: "Tensor", partner: "Tensor", share: "np.ndarray", rng: "np.random.Generator"
    ) -> "tuple[Tensor, Tensor]":
        import torch

        del rng
        kept = torch.from_numpy(share).float().to(images.device, non_blocking=True)
        return blend(images, partner, kept), kept
