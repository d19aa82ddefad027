"""The net of a bundle without weights; the code of a module is run only if the user allows it."""

from convsmith.errors import ConvsmithError
from convsmith.models.bundle import METADATA, Bundle, damaged
from convsmith.models.bundle_schema import ModuleSpec
from convsmith.modules.access import NO_CODE, CodeAccess
from convsmith.modules.architecture import (
    Architecture,
    ModuleArchitecture,
    architecture_in,
    architecture_of,
)
from convsmith.modules.config import ModuleConfig
from convsmith.net.analysis import Analysis


def open_architecture(bundle: Bundle, access: CodeAccess = NO_CODE) -> tuple[Architecture, Analysis]:
    """Return the net of a bundle without weights, and its analysis on images of the bundle's size.

    Args:
        bundle: The verified bundle.
        access: Whether its code may be run.

    Raises:
        UntrustedCodeError: The net is a module, and its code may not be run.
        ModuleError: The module cannot be loaded, or is no classifier of the bundle's images.
        BundleError: The net and the labels do not fit together.

    Example:
        >>> from convsmith.models.bundle import read
        >>> from convsmith.models.zoo import zoo_folder
        >>> open_architecture(read(zoo_folder("digits")))[1].receptive_field
        11
    """
    spec, shape = bundle.metadata.spec, bundle.metadata.preprocessing.shape
    labels, path = bundle.metadata.labels, bundle.folder / METADATA
    if isinstance(spec, ModuleSpec):
        # Naming an installed package runs code too.
        access.check(str(bundle.folder))
        config = ModuleConfig(module=spec.module, outputs=spec.outputs)
        module = architecture_in(bundle.folder, config, access.module)
        module.check(shape, len(labels))
        return module, module.analyze(shape)
    notation = architecture_of(spec)
    try:
        analysis = notation.analyze(shape)
    except ConvsmithError as error:
        raise damaged(path, f"spec.net: {error.problems[0].what}") from error
    if analysis.num_outputs != len(labels):
        raise damaged(path, f"found {analysis.num_outputs} outputs for {len(labels)} labels")
    return notation, analysis


def version_notes(bundle: Bundle, architecture: Architecture) -> tuple[str, ...]:
    """Return whether the net's package has another version than that of the training."""
    spec = bundle.metadata.spec
    expected = spec.package if isinstance(spec, ModuleSpec) else ""
    found = architecture.loaded.package if isinstance(architecture, ModuleArchitecture) else ""
    if not expected or found == expected:
        return ()
    return (f"{bundle.metadata.name}: trained with {expected}, this is {found or 'another module'}",)
