"""Design, check, train, explain and ship small convolutional image classifiers.

>>> import convsmith as cs
>>> cs.summary("C16 C16:s2 / G F10", (3, 32, 32)).parameters
2970
"""

from typing import TYPE_CHECKING, Any

from convsmith.errors import ConvsmithError

if TYPE_CHECKING:
    from convsmith.api.verbs import (
        check,
        compare,
        draw,
        eject,
        evaluate,
        explain_error,
        export,
        export_bundle,
        export_onnx,
        format_net,
        list_recipes,
        load,
        load_recipe,
        load_target,
        lr_find,
        predict,
        preview,
        progress,
        receptive_field,
        report,
        results,
        resume,
        search,
        summary,
        train,
        verify_data,
    )
    from convsmith.net.settings import NetSettings

__version__ = "0.1.0"
__all__ = [
    "ConvsmithError",
    "NetSettings",
    "check",
    "compare",
    "draw",
    "eject",
    "evaluate",
    "explain_error",
    "export",
    "export_bundle",
    "export_onnx",
    "format_net",
    "list_recipes",
    "load",
    "load_recipe",
    "load_target",
    "lr_find",
    "predict",
    "preview",
    "progress",
    "receptive_field",
    "report",
    "results",
    "resume",
    "search",
    "summary",
    "train",
    "verify_data",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: `import convsmith` alone is quick."""
    if name not in __all__:
        raise AttributeError(f"module 'convsmith' has no attribute {name!r}")
    from importlib import import_module

    home = "convsmith.net.settings" if name == "NetSettings" else "convsmith.api.verbs"
    return getattr(import_module(home), name)
