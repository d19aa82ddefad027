"""Load a trained network and classify images."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from convsmith.models.classifier import Classifier, Prediction
from convsmith.models.image_inputs import ImageInput
from convsmith.models.resolve import resolve_trained
from convsmith.modules.access import CodeAccess

if TYPE_CHECKING:
    from torch import nn


def load(
    target: str | Path,
    *,
    device: str | None = None,
    trust_code: bool = False,
    module: "nn.Module | None" = None,
) -> Classifier:
    """Load a trained model: a zoo model, a bundle or a run.

    Args:
        target: The name of a zoo model, such as "cifar10-sprint", or the folder of a bundle or a run.
        device: "cpu", "cuda", "mps" or "auto"; by default the CPU, or the device of a run's recipe.
        trust_code: Whether to run the code of a run or bundle whose net is a module.
        module: An instance of its net, to use instead of that code.

    Raises:
        UntrustedCodeError: The net of the run is a module, and its code may not be run.
        BundleError: The model is unknown, or the bundle is damaged.
        RunError: The run is damaged or was not evaluated.

    Example:
        >>> import convsmith as cs
        >>> cs.load("digits").labels
        ('0', '1', '2', '3', '4', '5', '6', '7', '8', '9')
    """
    access = CodeAccess(trust=trust_code, module=module)
    return resolve_trained(str(target), access=access).classifier(device)


def predict(
    target: str | Path | Classifier,
    images: ImageInput | Sequence[ImageInput],
    *,
    top_k: int = 3,
    trust_code: bool = False,
) -> list[Prediction]:
    """Classify images with a trained model.

    Args:
        target: As for `load`, or a classifier that it returned.
        images: One or several of: paths of files and folders, patterns, http(s) addresses, Pillow images, and
            uint8 arrays `(H, W)`, `(H, W, C)` or `(N, H, W, C)`, of any size.
        top_k: Number of top classes in each prediction.
        trust_code: As for `load`.

    Returns:
        One prediction per image, in order.

    Raises:
        ConvsmithError: As `load`; FileError if a path does not exist; ImageError if an image is unreadable.

    Example:
        >>> import convsmith as cs
        >>> from sklearn.datasets import load_digits
        >>> seven = (load_digits().images[7] * 15.9375).astype("uint8")
        >>> [each.label for each in cs.predict("digits", seven)]
        ['7']
    """
    classifier = load(target, trust_code=trust_code) if isinstance(target, str | Path) else target
    return classifier.predict(images, top_k=top_k)
