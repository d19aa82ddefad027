"""Design, check, train, explain and ship small convolutional image classifiers.

>>> import convsmith as cs
>>> cs.summary("C16 C16:s2 / G F10", (3, 32, 32)).parameters
2970
"""

from importlib import import_module
from typing import TYPE_CHECKING

# The imports are for type checkers; at run time a module is imported when one of its names is first used.
if TYPE_CHECKING:
    from convsmith.api.check import check as check
    from convsmith.api.compare import compare as compare
    from convsmith.api.data_decode import DecodedData as DecodedData
    from convsmith.api.data_decode import decode_data as decode_data
    from convsmith.api.data_describe import describe_data as describe_data
    from convsmith.api.data_verify import verify_data as verify_data
    from convsmith.api.draw import draw as draw
    from convsmith.api.eject import eject as eject
    from convsmith.api.evaluate import evaluate as evaluate
    from convsmith.api.explain import explain_error as explain_error
    from convsmith.api.export import export as export
    from convsmith.api.export import export_bundle as export_bundle
    from convsmith.api.export import export_onnx as export_onnx
    from convsmith.api.folds import FoldsResult as FoldsResult
    from convsmith.api.folds import folds as folds
    from convsmith.api.format import format_net as format_net
    from convsmith.api.grade import Grades as Grades
    from convsmith.api.grade import grade as grade
    from convsmith.api.grid import GridResult as GridResult
    from convsmith.api.grid import grid as grid
    from convsmith.api.grid import resume_grid as resume_grid
    from convsmith.api.hand_in import HandIn as HandIn
    from convsmith.api.hand_in import hand_in as hand_in
    from convsmith.api.init import RepositorySetup as RepositorySetup
    from convsmith.api.init import init as init
    from convsmith.api.lr_find import lr_find as lr_find
    from convsmith.api.predict import load as load
    from convsmith.api.predict import predict as predict
    from convsmith.api.predict_many import predict_many as predict_many
    from convsmith.api.preview import preview as preview
    from convsmith.api.receptive_field import receptive_field as receptive_field
    from convsmith.api.recipes import list_recipes as list_recipes
    from convsmith.api.recipes import load_recipe as load_recipe
    from convsmith.api.report import report as report
    from convsmith.api.resolve import resolve as resolve
    from convsmith.api.results import results as results
    from convsmith.api.resume import resume as resume
    from convsmith.api.search import search as search
    from convsmith.api.start import StarterRecipe as StarterRecipe
    from convsmith.api.start import start_recipe as start_recipe
    from convsmith.api.summary import summary as summary
    from convsmith.api.train import train as train
    from convsmith.api.watch import progress as progress
    from convsmith.briefs.check import Check as Check
    from convsmith.briefs.metrics import RunMetrics as RunMetrics
    from convsmith.briefs.schema import Brief as Brief
    from convsmith.briefs.verdicts import Verdicts as Verdicts
    from convsmith.data.checks.description import Description as Description
    from convsmith.data.issues import Verification as Verification
    from convsmith.errors import ConvsmithError as ConvsmithError
    from convsmith.evaluation.receptive_field import EffectiveReceptiveField as EffectiveReceptiveField
    from convsmith.exporters.parity import Parity as Parity
    from convsmith.grading.record import SubmissionRecord as SubmissionRecord
    from convsmith.models.classifier import Classifier as Classifier
    from convsmith.models.classifier import Prediction as Prediction
    from convsmith.models.model import Model as Model
    from convsmith.models.prediction_folder import PredictionsRecord as PredictionsRecord
    from convsmith.nas.search import SearchResult as SearchResult
    from convsmith.net.analysis import Analysis as Analysis
    from convsmith.net.inputs import Input as Input
    from convsmith.net.settings import NetSettings as NetSettings
    from convsmith.recipes.schema import Recipe as Recipe
    from convsmith.reports.comparison import Comparison as Comparison
    from convsmith.reports.report import Result as Result
    from convsmith.runs.progress import RunProgress as RunProgress
    from convsmith.system.progress import show_progress as show_progress
    from convsmith.training.callbacks import Callback as Callback
    from convsmith.training.callbacks import EpochStart as EpochStart
    from convsmith.training.lr_find import RangeTest as RangeTest
    from convsmith.training.metrics import BatchMetrics as BatchMetrics
    from convsmith.training.metrics import EpochMetrics as EpochMetrics
    from convsmith.training.profiler import Profile as Profile
    from convsmith.training.state import TrainerState as TrainerState

_MODULES = {
    "Analysis": "convsmith.net.analysis",
    "BatchMetrics": "convsmith.training.metrics",
    "Brief": "convsmith.briefs.schema",
    "Callback": "convsmith.training.callbacks",
    "Check": "convsmith.briefs.check",
    "Classifier": "convsmith.models.classifier",
    "Comparison": "convsmith.reports.comparison",
    "ConvsmithError": "convsmith.errors",
    "DecodedData": "convsmith.api.data_decode",
    "Description": "convsmith.data.checks.description",
    "EffectiveReceptiveField": "convsmith.evaluation.receptive_field",
    "EpochMetrics": "convsmith.training.metrics",
    "EpochStart": "convsmith.training.callbacks",
    "FoldsResult": "convsmith.api.folds",
    "Grades": "convsmith.api.grade",
    "GridResult": "convsmith.api.grid",
    "HandIn": "convsmith.api.hand_in",
    "Input": "convsmith.net.inputs",
    "Model": "convsmith.models.model",
    "NetSettings": "convsmith.net.settings",
    "Parity": "convsmith.exporters.parity",
    "Prediction": "convsmith.models.classifier",
    "PredictionsRecord": "convsmith.models.prediction_folder",
    "Profile": "convsmith.training.profiler",
    "RangeTest": "convsmith.training.lr_find",
    "Recipe": "convsmith.recipes.schema",
    "RepositorySetup": "convsmith.api.init",
    "Result": "convsmith.reports.report",
    "RunMetrics": "convsmith.briefs.metrics",
    "RunProgress": "convsmith.runs.progress",
    "SearchResult": "convsmith.nas.search",
    "StarterRecipe": "convsmith.api.start",
    "SubmissionRecord": "convsmith.grading.record",
    "TrainerState": "convsmith.training.state",
    "Verdicts": "convsmith.briefs.verdicts",
    "Verification": "convsmith.data.issues",
    "check": "convsmith.api.check",
    "compare": "convsmith.api.compare",
    "decode_data": "convsmith.api.data_decode",
    "describe_data": "convsmith.api.data_describe",
    "draw": "convsmith.api.draw",
    "eject": "convsmith.api.eject",
    "evaluate": "convsmith.api.evaluate",
    "explain_error": "convsmith.api.explain",
    "export": "convsmith.api.export",
    "export_bundle": "convsmith.api.export",
    "export_onnx": "convsmith.api.export",
    "folds": "convsmith.api.folds",
    "format_net": "convsmith.api.format",
    "grade": "convsmith.api.grade",
    "grid": "convsmith.api.grid",
    "hand_in": "convsmith.api.hand_in",
    "init": "convsmith.api.init",
    "list_recipes": "convsmith.api.recipes",
    "load": "convsmith.api.predict",
    "load_recipe": "convsmith.api.recipes",
    "lr_find": "convsmith.api.lr_find",
    "predict": "convsmith.api.predict",
    "predict_many": "convsmith.api.predict_many",
    "preview": "convsmith.api.preview",
    "progress": "convsmith.api.watch",
    "receptive_field": "convsmith.api.receptive_field",
    "report": "convsmith.api.report",
    "resolve": "convsmith.api.resolve",
    "resume_grid": "convsmith.api.grid",
    "results": "convsmith.api.results",
    "resume": "convsmith.api.resume",
    "search": "convsmith.api.search",
    "show_progress": "convsmith.system.progress",
    "start_recipe": "convsmith.api.start",
    "summary": "convsmith.api.summary",
    "train": "convsmith.api.train",
    "verify_data": "convsmith.api.data_verify",
}

__version__ = "0.1.0"
__all__ = list(_MODULES)

if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        if name not in _MODULES:
            raise AttributeError(f"module 'convsmith' has no attribute {name!r}")
        return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
