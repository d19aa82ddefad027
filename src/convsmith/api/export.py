"""Export a network: code, bundle, ONNX."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from convsmith.exporters.code import source_files
from convsmith.models.arguments import ModelArguments, named_data
from convsmith.models.model import Model
from convsmith.models.resolve import resolve
from convsmith.models.trained import trained_model
from convsmith.modules.access import CodeAccess
from convsmith.system import files, folders, paths

if TYPE_CHECKING:
    from torch import nn

    from convsmith.exporters.parity import Parity


def export(
    model: "str | Path | Model",
    folder: str | Path,
    *overrides: str,
    weights: str | Path | None = None,
    data: object = None,
    replace: bool = False,
    trust_code: bool = False,
    log: Callable[[str], None] = lambda _: None,
) -> tuple[Path, ...]:
    """Write a network as a plain PyTorch file, `model.py`, and trained weights as `model.safetensors`.

    Args:
        model: From `resolve`, or a name; a word that names both a recipe and a zoo model denotes the latter.
        folder: Created if necessary.
        overrides: As for `evaluate`.
        weights: As for `evaluate`.
        data: As for `evaluate`.
        replace: Whether to replace existing files.
        trust_code: Whether to run the code of a run or bundle whose net is a module.
        log: With `weights`: takes what is assumed about them, one sentence at a time.

    Returns:
        The paths of the files.

    Raises:
        FileError: A different file exists.
        RunError: The weights of the run are damaged.
        BundleError: The bundle is damaged.
    """
    access = CodeAccess(trust=trust_code)
    folder = Path(folder)
    target = model.reference if isinstance(model, Model) else model
    with named_data(target, weights, data, overrides) as source:
        arguments = ModelArguments.of(target, weights, source, overrides)
        if weights is not None:
            with trained_model(arguments, access, log) as trained:
                written = source_files(trained)
        else:
            model = model if isinstance(model, Model) else resolve(str(model), prefer="zoo", access=access)
            written = source_files(model)
    paths.check_outputs([folder / name for name in written], arguments.files)
    files.write_files({folder / name: content for name, content in written.items()}, replace=replace)
    return tuple(folder / name for name in written)


def export_bundle(
    target: str | Path,
    folder: str | Path,
    *overrides: str,
    weights: str | Path | None = None,
    data: object = None,
    replace: bool = False,
    trust_code: bool = False,
    log: Callable[[str], None] = lambda _: None,
) -> Path:
    """Write a bundle: weights, spec, labels, preprocessing, calibration, card and manifest.

    Args:
        target: As for `load`. The data set of a run must be available: the weights in the bundle are
            evaluated on its test images. A bundle or a zoo model is copied.
        folder: Written atomically.
        overrides: As for `evaluate`.
        weights: As for `evaluate`.
        data: As for `evaluate`.
        replace: Whether to replace an existing bundle.
        trust_code: Whether to run the code of a run or bundle whose net is a module.
        log: With `weights`: takes what is assumed about them, one sentence at a time.

    Returns:
        The folder.

    Raises:
        RunError: The run is missing, damaged or not evaluated, or its data set has changed.
        DataError: The data set does not exist or is unreadable.
        FileError: The folder exists and is not a bundle.
    """
    from convsmith.exporters.bundle import bundle_contents
    from convsmith.models import bundle

    folder = Path(folder)
    bundle.check_destination(folder)
    with named_data(target, weights, data, overrides) as source:
        arguments = ModelArguments.of(target, weights, source, overrides)
        with trained_model(arguments, CodeAccess(trust=trust_code), log) as model:
            contents = bundle_contents(model)
    bundle.write(folder, contents, replace=replace)
    return folder


def export_onnx(
    target: str | Path,
    path: str | Path,
    *overrides: str,
    weights: str | Path | None = None,
    data: object = None,
    int8: bool = False,
    images: Sequence[str] = (),
    replace: bool = False,
    trust_code: bool = False,
    module: "nn.Module | None" = None,
    log: Callable[[str], None] = lambda _: None,
) -> "Parity":
    """Write a trained model as an ONNX file, after comparing its outputs with PyTorch's.

    Args:
        target: As for `load`.
        path: The file.
        overrides: As for `evaluate`.
        weights: As for `evaluate`.
        data: As for `evaluate`.
        int8: Quantize weights and activations to 8 bits, calibrated on training images.
        images: Images for the comparison, as for `predict`; by default the test images of the data set.
        replace: Whether to replace an existing file.
        trust_code: Whether to run the code of a run or bundle whose net is a module.
        module: An instance of its net, to use instead of that code.
        log: With `weights`: takes what is assumed about them, one sentence at a time.

    Returns:
        The comparison.

    Raises:
        ModuleError: The net cannot be converted to ONNX.
        ParityError: The outputs differ too much; nothing is written.
        MissingExtraError: The extra `onnx` is not installed.
        ConvsmithError: As `load`; or the data set is unavailable, or another file exists.
    """
    from convsmith.exporters import onnx_model
    from convsmith.exporters.onnx_export import verified_onnx

    onnx_model.require_packages()
    path = Path(path)
    access = CodeAccess(trust=trust_code, module=module)
    with named_data(target, weights, data, overrides) as source:
        arguments = ModelArguments.of(target, weights, source, overrides, access)
        paths.check_outputs([path], arguments.files)
        folders.check_destination(path.absolute().parent)
        with trained_model(arguments, access, log) as model:
            content, parity = verified_onnx(model, int8=int8, images=images)
    files.write_files({path: content}, replace=replace)
    return parity
