"""Load a trained network and classify images."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from convsmith.models.arguments import ModelArguments
from convsmith.models.classifier import Classifier, Prediction
from convsmith.models.image_inputs import ImageInput
from convsmith.models.trained import trained_model
from convsmith.modules.access import CodeAccess

if TYPE_CHECKING:
    from torch import nn


def load(
    target: str | Path,
    *overrides: str,
    weights: str | Path | None = None,
    data: str | Path | None = None,
    device: str | None = None,
    trust_code: bool = False,
    module: "nn.Module | None" = None,
    log: Callable[[str], None] = lambda _: None,
) -> Classifier:
    """Load a trained model: a zoo model, a bundle or a run, or weights that were trained elsewhere.

    Args:
        target: The name of a zoo model, such as "cifar10-sprint", or the folder of a bundle or a run; with
            `weights` as for `evaluate`.
        overrides: As for `evaluate`.
        weights: As for `evaluate`; the test images are classified once, to fit the confidence.
        data: As for `evaluate`.
        device: "cpu", "cuda", "mps" or "auto"; by default the CPU, or the device of a run's recipe.
        trust_code: Whether to run the code of a run or bundle whose net is a module.
        module: An instance of its net, to use instead of that code.
        log: With `weights`: takes what is assumed about them, one sentence at a time.

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
    arguments = ModelArguments.of(target, weights, data, overrides, access)
    with trained_model(arguments, access, log) as model:
        return model.classifier(device)


def predict(
    target: str | Path | Classifier,
    images: ImageInput | Sequence[ImageInput],
    *,
    top_k: int = 3,
    image_column: str | None = None,
    trust_code: bool = False,
) -> list[Prediction]:
    """Classify images with a trained model.

    Args:
        target: As for `load`, or a classifier that it returned.
        images: One or several of: paths of files and folders, archives, parquet files, patterns, http(s)
            addresses, Pillow images, and uint8 arrays `(H, W)`, `(H, W, C)` or `(N, H, W, C)`, of any size.
        top_k: Number of top classes in each prediction.
        image_column: Of parquet files; by default the only one with images.
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
    return classifier.predict(images, top_k=top_k, image_column=image_column)
