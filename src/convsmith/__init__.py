"""Design, check, train, explain and ship small convolutional image classifiers.

>>> import convsmith as cs
>>> cs.summary("C16 C16:s2 / G F10", (3, 32, 32)).parameters
2970
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from convsmith.api.check import check
    from convsmith.api.compare import compare
    from convsmith.api.data_verify import verify_data
    from convsmith.api.draw import draw
    from convsmith.api.eject import eject
    from convsmith.api.evaluate import evaluate
    from convsmith.api.explain import explain_error
    from convsmith.api.export import export, export_bundle, export_onnx
    from convsmith.api.format import format_net
    from convsmith.api.lr_find import lr_find
    from convsmith.api.predict import load, predict
    from convsmith.api.preview import preview
    from convsmith.api.receptive_field import receptive_field
    from convsmith.api.recipes import list_recipes, load_recipe
    from convsmith.api.report import report
    from convsmith.api.resolve import resolve
    from convsmith.api.results import results
    from convsmith.api.resume import resume
    from convsmith.api.search import search
    from convsmith.api.summary import summary
    from convsmith.api.train import train
    from convsmith.api.watch import progress
    from convsmith.briefs.checks import Check
    from convsmith.briefs.schema import Brief
    from convsmith.errors import ConvsmithError
    from convsmith.models.classifier import Classifier, Prediction
    from convsmith.models.model import Model
    from convsmith.net.analysis import Analysis
    from convsmith.net.settings import NetSettings
    from convsmith.recipes.schema import Recipe
    from convsmith.reports.report import Result
    from convsmith.training.callbacks import Callback

__version__ = "0.1.0"
__all__ = [
    "Analysis",
    "Brief",
    "Callback",
    "Check",
    "Classifier",
    "ConvsmithError",
    "Model",
    "NetSettings",
    "Prediction",
    "Recipe",
    "Result",
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
    "lr_find",
    "predict",
    "preview",
    "progress",
    "receptive_field",
    "report",
    "resolve",
    "results",
    "resume",
    "search",
    "summary",
    "train",
    "verify_data",
]

# The module that defines each public name. It is imported when the name is first used.
_MODULES = {
    "Analysis": "convsmith.net.analysis",
    "Brief": "convsmith.briefs.schema",
    "Callback": "convsmith.training.callbacks",
    "Check": "convsmith.briefs.checks",
    "Classifier": "convsmith.models.classifier",
    "ConvsmithError": "convsmith.errors",
    "Model": "convsmith.models.model",
    "NetSettings": "convsmith.net.settings",
    "Prediction": "convsmith.models.classifier",
    "Recipe": "convsmith.recipes.schema",
    "Result": "convsmith.reports.report",
    "check": "convsmith.api.check",
    "compare": "convsmith.api.compare",
    "draw": "convsmith.api.draw",
    "eject": "convsmith.api.eject",
    "evaluate": "convsmith.api.evaluate",
    "explain_error": "convsmith.api.explain",
    "export": "convsmith.api.export",
    "export_bundle": "convsmith.api.export",
    "export_onnx": "convsmith.api.export",
    "format_net": "convsmith.api.format",
    "list_recipes": "convsmith.api.recipes",
    "load": "convsmith.api.predict",
    "load_recipe": "convsmith.api.recipes",
    "lr_find": "convsmith.api.lr_find",
    "predict": "convsmith.api.predict",
    "preview": "convsmith.api.preview",
    "progress": "convsmith.api.watch",
    "receptive_field": "convsmith.api.receptive_field",
    "report": "convsmith.api.report",
    "resolve": "convsmith.api.resolve",
    "results": "convsmith.api.results",
    "resume": "convsmith.api.resume",
    "search": "convsmith.api.search",
    "summary": "convsmith.api.summary",
    "train": "convsmith.api.train",
    "verify_data": "convsmith.api.data_verify",
}

if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        if name not in _MODULES:
            raise AttributeError(f"module 'convsmith' has no attribute {name!r}")
        return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
