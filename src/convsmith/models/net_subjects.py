"""What a brief judges of whatever names a net: its analysis, and what is known of its training."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from convsmith.briefs.hints import hints
from convsmith.briefs.judgement import Judgement
from convsmith.briefs.schema import Brief
from convsmith.briefs.subject import Subject
from convsmith.briefs.verdicts import Verdicts
from convsmith.errors import RecipeError
from convsmith.models.resolve import locate, resolve
from convsmith.modules.access import NO_CODE, CodeAccess
from convsmith.modules.definition import definition_of, definition_of_instance
from convsmith.net.inputs import Inputs
from convsmith.net.rows import Location
from convsmith.text import percent, plural

if TYPE_CHECKING:
    from torch import nn

    from convsmith.models.arguments import ModelArguments
    from convsmith.models.model import Model
    from convsmith.net.analysis import Analysis
    from convsmith.recipes.schema import Recipe


@dataclass(frozen=True, kw_only=True)
class NetSubject:
    """A net for a brief.

    Attributes:
        name: The net as the user wrote it.
        subject: What a brief judges.
        brief: The net's own brief, that of its recipe; empty for others.
        notes: What a user should know about a module of their own.
        remarks: What was measured or chosen on the way, one sentence each.
        definition: The line that defines the net.
    """

    name: str
    subject: Subject
    brief: Brief = field(default_factory=Brief)
    notes: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    definition: Location | None = None

    def judgement(self, checks: Verdicts) -> Judgement:
        """Return verdicts on the net with what else is known of it."""
        analysis = self.subject.analysis
        return Judgement(
            name=self.name,
            checks=checks,
            hints=hints(analysis),
            totals=analysis.totals_line(),
            remarks=self.remarks,
            definition=self.definition,
        )


def subject_of_model(model: "Model", name: str = "") -> NetSubject:
    """Return a resolved model for a brief."""
    recipe = model.recipe
    return NetSubject(
        name=name or model.reference or model.name,
        subject=model.subject(),
        brief=recipe.brief if recipe else Brief(),
        notes=model.net_notes,
        remarks=_start_remarks(model),
        definition=definition_of(name),
    )


def _start_remarks(model: "Model") -> tuple[str, ...]:
    """Return what the training of a recipe would take from the weights that it names; empty for others.

    Raises:
        ConvsmithError: There are no such weights, or they are those of another net.
    """
    if model.kind != "recipe" or model.recipe is None or model.recipe.train.start_from is None:
        return ()
    from convsmith.models.start import start_remark

    return (start_remark(model, model.recipe.train.start_from),)


def subject_of_name(
    name: str,
    overrides: Sequence[str] = (),
    *,
    brief: Brief | None = None,
    input_shape: Inputs | None = None,
    data: str | None = None,
    access: CodeAccess,
) -> NetSubject:
    """Return the net of a name for a brief.

    Args:
        name: As `convsmith.models.resolve.resolve` takes it.
        overrides: Fields of its recipe, or settings of a net in the notation.
        brief: The brief; the data of the library's recipe for it are those of a net that has none.
        input_shape: `(C, H, W)` of one image.
        data: A data set, for the shape of its images.
        access: Whether code that a run or a bundle holds may be run.

    Raises:
        ConvsmithError: As `resolve`.
    """
    remarks: tuple[str, ...] = ()
    if input_shape is None and locate(name, "recipe").kind in {"module", "notation"}:
        input_shape, remarks = _image_shape(data, brief)
        if input_shape is None:
            raise RecipeError(
                "the input's shape is missing",
                where="--input",
                fix="for example --input 1x28x28, or name the data set: --data mnist",
            )
    elif data is not None:
        raise RecipeError(
            "the shape of the images is known already",
            where=f"--data {data}",
            fix="leave it out, or add --weights net.pth to evaluate weights on these data",
        )
    net = subject_of_model(resolve(name, overrides, input_shape, access=access), name)
    return replace(net, remarks=(*net.remarks, *remarks))


def subject_of_instance(
    module: "nn.Module", *, brief: Brief | None, input_shape: Inputs | None, data: str | None
) -> NetSubject:
    """Return an instance of a module for a brief.

    Raises:
        RecipeError: The shape of an image is not known.
        ModuleError: The forward pass fails.
    """
    from convsmith.net.inputs import inputs_of
    from convsmith.tracing.trace import trace

    remarks: tuple[str, ...] = ()
    if input_shape is None:
        input_shape, remarks = _image_shape(data, brief)
    if input_shape is None:
        raise RecipeError(
            "the shape of an image is missing",
            where="input_shape",
            fix="for example input_shape=(3, 32, 32), or data='mnist'",
        )
    return NetSubject(
        name=type(module).__name__,
        subject=Subject(analysis=trace(module, inputs_of(input_shape))),
        remarks=remarks,
        definition=definition_of_instance(module),
    )


def subject_of_weights(arguments: "ModelArguments", module: "nn.Module | None" = None) -> NetSubject:
    """Evaluate a net with weights from a file once on the test images, and return it for a brief.

    Args:
        arguments: With weights from a file.
        module: An instance of the net, in place of the target.

    Raises:
        ConvsmithError: As `convsmith.models.external.external_run`.
    """
    from convsmith.briefs.metrics import RunMetrics
    from convsmith.models.external import evaluation_notes, external_run
    from convsmith.recipes.fit import subject_of
    from convsmith.runs.evaluation import predict_test
    from convsmith.runs.schema import WeightsRecord

    with (
        tempfile.TemporaryDirectory(prefix="convsmith-") as parent,
        external_run(arguments, Path(parent), module=module) as (folder, session),
    ):
        metrics = predict_test(folder, session)
        record = folder.read(WeightsRecord)
    known = RunMetrics(accuracy=metrics.accuracy, calibration_error=metrics.calibration.ece)
    count = f"{metrics.correct:,} of {metrics.total:,} test images ({session.data.identity})"
    return NetSubject(
        name=arguments.target if module is None else type(module).__name__,
        subject=subject_of(session.recipe, session.analysis, known),
        brief=session.recipe.brief,
        notes=session.architecture.notes,
        remarks=(
            f"{record.file}: {count} are classified correctly, {percent(metrics.accuracy)}",
            *evaluation_notes(record, metrics.accuracy, len(session.data.class_names)),
        ),
        definition=definition_of(arguments.target) if module is None else definition_of_instance(module),
    )


def training_recipe_of(
    net: "nn.Module | str",
    brief: Brief | None,
    *,
    base: str | None,
    data: str | None,
    overrides: Sequence[str],
) -> "Recipe":
    """Return the recipe that trains a net by the rules of a brief.

    Args:
        net: An instance, or a name.
        brief: The brief.
        base: A recipe for the other settings.
        data: A data set.
        overrides: Fields of the recipe.

    Raises:
        RecipeError: The data are not known, the net is trained already, or a field is invalid.
    """
    from convsmith.models.external import recipe_name
    from convsmith.modules.instance import loaded_instance
    from convsmith.modules.reference import parse_reference
    from convsmith.recipes.brief_training import training_recipe
    from convsmith.recipes.loader import load

    analysis: Analysis | None = None
    if not isinstance(net, str):
        name, model = type(net).__name__, {"module": str(loaded_instance(net).reference)}
        if brief is not None and brief.variants:
            analysis = subject_of_instance(net, brief=brief, input_shape=None, data=data).subject.analysis
    else:
        named = locate(net, "recipe")
        if named.kind == "recipe":
            chosen = [each for each in (base and "--recipe", data and "--data") if each]
            if chosen:
                fix = "leave them out, or change its fields: train.epochs=5"
                raise RecipeError(
                    "a recipe has settings and data of its own", where=", ".join(chosen), fix=fix
                )
            recipe = load(named.text, overrides)
            return recipe if brief is None else recipe.model_copy(update={"brief": brief})
        if named.kind not in {"module", "notation"}:
            raise RecipeError(f"this {named.kind} is trained already", where=net, fix="leave --train out")
        is_module = named.kind == "module"
        name, model = (parse_reference(net).name, {"module": net}) if is_module else ("net", {"net": net})
        if brief is not None and brief.variants:
            settings = [each for each in overrides if each.startswith("model.")]
            net_of_name = subject_of_name(net, settings, brief=brief, data=data, access=NO_CODE)
            analysis = net_of_name.subject.analysis
    return training_recipe(
        brief or Brief(),
        model,
        name=recipe_name(name),
        analysis=analysis,
        base=base,
        data=data,
        overrides=overrides,
    )


def subject_of_run(folder: Path, name: str, original: "Recipe", access: CodeAccess) -> NetSubject:
    """Return a finished run for the brief of its recipe, with places in the files that were trained.

    Args:
        folder: The run folder.
        name: The net as the user wrote it.
        original: The recipe before the training; the module of the run is a copy in its folder.
        access: The instance, if it is one.

    Raises:
        RunError: The run is damaged.
    """
    from convsmith.models.run_model import RunModel

    model = RunModel(folder, access=access)
    word = " --trust-code" if model.code()[0] else ""
    recipe = model.recipe
    remarks = (
        f"{recipe.description or recipe.name}: {plural(recipe.train.epochs, 'epoch')}, seed {recipe.seed}",
        f"run folder: {folder}; check it again: convsmith check {folder}{word}",
    )
    net = replace(subject_of_model(model, name), remarks=remarks)
    if access.module is None and not word:
        return net
    from convsmith.modules.architecture import architecture_of
    from convsmith.recipes.instance import with_instance

    # A recipe of a net in the notation may have been trained with an instance.
    trained = original if access.module is None else with_instance(original, access.module)
    analysis = architecture_of(trained.model, access.module).analyze(model.preprocessing.shape)
    return replace(net, subject=replace(net.subject, analysis=analysis))


def _image_shape(data: str | None, brief: Brief | None) -> tuple[Inputs | None, tuple[str, ...]]:
    """Return the shape of the images of a data set, or of the library's recipe for a brief."""
    from convsmith.data.dataset import dataset_info
    from convsmith.recipes.brief_training import recipe_of_brief
    from convsmith.recipes.loader import load_data_config

    if data is not None:
        return dataset_info(load_data_config(data)).image_shape, ()
    recipe = None if brief is None else recipe_of_brief(brief)
    if recipe is None:
        return None, ()
    shape = dataset_info(load_data_config(recipe)).image_shape
    size = "x".join(map(str, shape))
    return shape, (f"images of {size}, as in the recipe {recipe}, which is for this brief",)
