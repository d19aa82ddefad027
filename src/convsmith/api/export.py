"""Export a network: code, bundle, ONNX."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from convsmith.exporters.code import source_files
from convsmith.models.model import Model
from convsmith.models.resolve import resolve, resolve_trained
from convsmith.system import files

if TYPE_CHECKING:
    from convsmith.exporters.parity import Parity


def export(model: "str | Path | Model", folder: Path, *, replace: bool = False) -> tuple[Path, ...]:
    """Write a net as one plain PyTorch file, `model.py`, and its trained weights as `model.safetensors`.

    Args:
        model: From `resolve`, or a name; a word that names both a recipe and a zoo model denotes the latter.
        folder: Is made where it is missing.
        replace: Whether other files of these names may be replaced.

    Returns:
        The paths of what was written.

    Raises:
        FileError: A different file is there already.
        RunError: The run's weights are damaged.
        BundleError: The bundle is damaged.
    """
    written = source_files(model if isinstance(model, Model) else resolve(str(model), prefer="zoo"))
    files.write_files({folder / name: content for name, content in written.items()}, replace=replace)
    return tuple(folder / name for name in written)


def export_bundle(target: str | Path, folder: Path, *, replace: bool = False) -> Path:
    """Write a bundle: weights, spec, labels, preprocessing, calibration, card and manifest.

    Args:
        target: As for `load`. The data set of a run must be available: the weights in the bundle are
            evaluated on its test images. A bundle or a zoo model is copied.
        folder: Appears whole, or not at all.
        replace: Whether another bundle there may be replaced.

    Returns:
        The folder.

    Raises:
        RunError: No such run, a damaged one, one that was not evaluated, or its data set has changed.
        DataError: The data set cannot be found or read.
        FileError: Something else is there already.
    """
    from convsmith.exporters.bundle import bundle_contents
    from convsmith.models import bundle

    bundle.write(folder, bundle_contents(resolve_trained(str(target))), replace=replace)
    return folder


def export_onnx(
    target: str | Path,
    path: Path,
    *,
    int8: bool = False,
    images: Sequence[str] = (),
    replace: bool = False,
) -> "Parity":
    """Write a trained net as one ONNX file, once its answers have been compared with PyTorch's.

    Args:
        target: As for `load`.
        path: Of the file.
        int8: Keep weights and maps as 8-bit numbers, set by training images.
        images: Images to compare on, as for `predict`; by default the test images of its data set.
        replace: Whether another file there may be replaced.

    Returns:
        How well the two agree.

    Raises:
        ParityError: They do not; nothing is written.
        MissingExtraError: The extra `onnx` is not installed.
        ConvsmithError: As `load`; the data set cannot be found or read; another file is there.
    """
    from convsmith.exporters import onnx_model
    from convsmith.exporters.onnx_export import verified_onnx

    onnx_model.require_packages()
    content, parity = verified_onnx(resolve_trained(str(target)), int8=int8, images=images)
    files.write_files({path: content}, replace=replace)
    return parity
