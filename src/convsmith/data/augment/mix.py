"""The base class of mixing: images of a batch are combined in pairs, and their labels in the same shares."""

from abc import abstractmethod
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from convsmith.codegen import number
from convsmith.data.augment.transform import Augmentation

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor


class Mix(Augmentation):
    """Combine each image with another one of the batch; the share follows Beta(alpha, alpha)."""

    # The docstring and the body of the ejected project's function, which has `images`, `partner` and `share`.
    source_summary: ClassVar[str]
    source_body: ClassVar[str]

    alpha: float = Field(gt=0, le=100)

    @property
    def details(self) -> str:
        return f"alpha = {number(self.alpha)}; {self.frequency}"

    def inactive_reason(self, height: int, width: int) -> str:
        # Beta(alpha, alpha) with a small alpha is 0 or 1 nearly always: no mixing.
        reason = "" if self.alpha >= 0.01 else f"alpha is {number(self.alpha)}"
        return super().inactive_reason(height, width) or reason

    def apply(
        self,
        images_NCHW: "Tensor",  # noqa: N803 - shape suffix
        targets_NK: "Tensor",  # noqa: N803
        seed: int,
    ) -> "tuple[Tensor, Tensor]":
        """Mix each image with a random partner, with probability `p`.

        Args:
            images_NCHW: `(N, C, H, W)` float32.
            targets_NK: Class probabilities `(N, num_classes)`.
            seed: Equal seeds mix equally.

        Returns:
            Images and targets of the same shapes.
        """
        import numpy as np
        import torch

        rng = np.random.default_rng(seed)
        count, device = len(images_NCHW), images_NCHW.device
        partner = torch.from_numpy(rng.permutation(count)).to(device, non_blocking=True)
        selected = rng.random(count) < self.p
        share = np.where(selected, rng.beta(self.alpha, self.alpha, count), 1.0)
        images, kept = self.combine(images_NCHW, partner, share, rng)
        return images, blend(targets_NK, partner, kept)

    @abstractmethod
    def combine(
        self, images: "Tensor", partner: "Tensor", share: "np.ndarray", rng: "np.random.Generator"
    ) -> "tuple[Tensor, Tensor]":
        """Combine images with their partners.

        Args:
            images: `(N, C, H, W)` float32.
            partner: `(N,)`, the index of each image's partner.
            share: `(N,)`, the share that each image should keep.
            rng: The generator of further draws.

        Returns:
            The images, and the share `(N,)` float32 that each has kept.
        """


def blend(values: "Tensor", partner: "Tensor", share: "Tensor") -> "Tensor":
    """Return `share * values + (1 - share) * values[partner]`; `share` is `(N,)`."""
    import torch

    return torch.lerp(values[partner], values, share.view(-1, *[1] * (values.dim() - 1)))
