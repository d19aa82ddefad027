"""Load a trained network and classify images."""

from collections.abc import Sequence
from pathlib import Path

from convsmith.models.classifier import Classifier, Prediction
from convsmith.models.image_inputs import ImageInput
from convsmith.models.resolve import resolve_trained


def load(target: str | Path, *, device: str | None = None) -> Classifier:
    """A trained net, ready to predict: of the zoo by its name, of a bundle or of a run by its folder.

    Args:
        target: A name such as "cifar10-sprint", or a folder.
        device: "cpu", "cuda", "mps" or "auto"; by default the CPU, for a run that of its recipe.

    Raises:
        BundleError: No such net, or a damaged bundle.
        RunError: A damaged run, or one that was not evaluated.

    Example:
        >>> import convsmith as cs
        >>> cs.load("digits").labels
        ('0', '1', '2', '3', '4', '5', '6', '7', '8', '9')
    """
    return resolve_trained(str(target)).classifier(device)


def predict(
    target: str | Path | Classifier, images: ImageInput | Sequence[ImageInput], *, top_k: int = 3
) -> list[Prediction]:
    """Classify images by a trained net.

    Args:
        target: As for `load`, or what it returned, which spares loading it again.
        images: One or several of: paths of files and folders, patterns, http(s) addresses, Pillow images, and
            uint8 arrays `(H, W)`, `(H, W, C)` or `(N, H, W, C)`; of any size.
        top_k: How many of the likeliest classes to tell.

    Returns:
        One prediction an image, in their order.

    Raises:
        ConvsmithError: As `load`; FileError where nothing is at a path; ImageError where an image cannot be
            read.

    Example:
        >>> import convsmith as cs
        >>> from sklearn.datasets import load_digits
        >>> seven = (load_digits().images[7] * 15.9375).astype("uint8")
        >>> [each.label for each in cs.predict("digits", seven)]
        ['7']
    """
    classifier = load(target) if isinstance(target, str | Path) else target
    return classifier.predict(images, top_k=top_k)
