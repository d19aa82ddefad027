"""Judge networks by briefs."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, cast

from convsmith.briefs.checks import judge
from convsmith.briefs.hand_in import judge_all
from convsmith.briefs.judgement import Judgement
from convsmith.briefs.loader import load_brief
from convsmith.briefs.metrics import RunMetrics
from convsmith.briefs.schema import Brief
from convsmith.briefs.subject import Subject
from convsmith.briefs.verdicts import Verdicts
from convsmith.errors import ConvsmithError, RecipeError, StoppedError
from convsmith.models.net_subjects import (
    NetSubject,
    subject_of_instance,
    subject_of_model,
    subject_of_name,
    subject_of_run,
    subject_of_weights,
    training_recipe_of,
)
from convsmith.models.resolve import locate
from convsmith.models.untrained import RecipeModel
from convsmith.modules.access import NO_CODE, CodeAccess
from convsmith.modules.definition import definition_of
from convsmith.net.analysis import Analysis
from convsmith.net.inputs import Inputs
from convsmith.recipes.instance import with_instance
from convsmith.recipes.schema import Recipe
from convsmith.text import plural

if TYPE_CHECKING:
    from typing import TypeAlias

    from torch import nn

    from convsmith.models.arguments import ModelArguments
    from convsmith.training.callbacks import Callback

    Net: TypeAlias = Recipe | Analysis | nn.Module | str | Path


def check(
    net: "Recipe | Analysis | nn.Module | str | Path | Sequence[Recipe | Analysis | nn.Module | str | Path]",
    *overrides: str,
    brief: str | Path | Brief | None = None,
    weights: str | Path | None = None,
    data: str | Path | None = None,
    input_shape: Inputs | None = None,
    trained: RunMetrics | None = None,
    train: bool = False,
    recipe: str | None = None,
    runs: str | Path = "runs",
    module: "nn.Module | None" = None,
    trust_code: bool = False,
) -> Verdicts:
    """Judge a network by a brief.

    In a test of your own: `cs.check(Net(), brief="brief.toml", data="mnist").require()`.

    Args:
        net: An instance of a module, a recipe, an analysis from `summary`, or a name: "model.py:Net",
            notation, a recipe, the folder of a run or a bundle, a model of the zoo. Nets in a list are the
            models of a hand-in; the titles of their checks begin with their names.
        overrides: For a name: fields of its recipe, as `key=value`.
        brief: A brief, or its name or file; by default the recipe's brief.
        weights: A file of safetensors or of `torch.save`, for an instance or the name of an untrained net: it
            is evaluated once on the test images of `data`, so that checks of the accuracy apply.
        data: The data set of the weights, a name or a folder; without weights for the shape of its images.
        input_shape: `(C, H, W)` of one image; by default that of the data, or of the library's recipe for the
            brief.
        trained: Accuracy and calibration of a run. Without them, their checks are not applicable.
        train: Whether to train the net by the rules of the brief, and to judge its epochs.
        recipe: With `train`: the recipe of the other settings; by default that of the library for the brief,
            else plain ones.
        runs: With `train`: the parent of the run folder.
        module: An instance to judge instead of the net of a recipe or a run.
        trust_code: Whether to run the code of a run or bundle whose net is a module.

    Raises:
        RecipeError: The brief is unknown, the shape of the images is not known, or the network does not fit
            the recipe's data.
        ModuleError: The module cannot be created or run, or the weights do not fit it.
        ConvsmithError: The net does not exist, or its files cannot be read.

    Example:
        >>> import convsmith as cs
        >>> sorted({check.verdict for check in cs.check(cs.load_recipe("digits"))})
        ['not applicable', 'pass']
        >>> checks = cs.check("C64 M2 / F10", brief="course-cifar10", input_shape=(3, 32, 32))
        >>> [check.title for check in checks if check.verdict == "pass"]
        ['parameters']
    """
    __tracebackhide__ = True
    try:
        if recipe and not train:
            raise RecipeError("this goes with a training", where=f"recipe={recipe!r}", fix="add train=True")
        options = CheckOptions.of(
            overrides,
            brief=brief,
            weights=weights,
            data=data,
            input_shape=input_shape,
            training=Training(recipe=recipe, runs=Path(runs)) if train else None,
            access=CodeAccess(trust=trust_code, module=module),
        )
        if isinstance(net, list | tuple):
            nets = [options.subject_of(each) for each in net]
        else:
            nets = [options.subject_of(cast("Net", net))]
        if trained is not None:
            nets = [replace(each, subject=replace(each.subject, metrics=trained)) for each in nets]
        single, whole = _verdicts(options.brief, nets, several=len(nets) > 1)
        return single[0] if len(nets) == 1 else _joined(single, whole)
    except ConvsmithError as error:
        # What was wrong is in the message; the way through this library explains nothing.
        raise error.with_traceback(None) from None


# The name of the checks of all nets together.
_ALL = "all nets together"


@dataclass(frozen=True, kw_only=True)
class Training:
    """How a net is trained for a check.

    Attributes:
        recipe: The recipe of the settings that the brief leaves open; None for the usual ones.
        runs: The parent of the run folder.
        callbacks: As in `train`.
    """

    recipe: str | None = None
    runs: Path = Path("runs")
    callbacks: "Sequence[Callback]" = ()


@dataclass(frozen=True, kw_only=True)
class CheckOptions:
    """The arguments of a check, besides the net."""

    overrides: Sequence[str] = ()
    brief: Brief | None = None
    weights: str | None = None
    data: str | None = None
    input_shape: Inputs | None = None
    training: Training | None = None
    access: CodeAccess = NO_CODE

    @classmethod
    def of(
        cls,
        overrides: Sequence[str] = (),
        *,
        brief: str | Path | Brief | None = None,
        weights: str | Path | None = None,
        data: str | Path | None = None,
        input_shape: Inputs | None = None,
        training: Training | None = None,
        access: CodeAccess = NO_CODE,
    ) -> "CheckOptions":
        """Load the brief.

        Raises:
            RecipeError: There is none of the name, or some arguments have no meaning together.
            FileError: Its file cannot be read.
        """
        options = cls(
            overrides=overrides,
            brief=load_brief(str(brief)) if isinstance(brief, str | Path) else brief,
            weights=None if weights is None else str(weights),
            data=None if data is None else str(data),
            input_shape=input_shape,
            training=training,
            access=access,
        )
        options.check_weights(has_weights=weights is not None)
        return options

    def check_weights(self, *, has_weights: bool) -> None:
        """Raise RecipeError if weights, or a shape, are named that have no effect."""
        if self.training and (has_weights or self.input_shape):
            raise RecipeError(
                "a training makes weights of its own, from the images of its data",
                where="--train",
                fix="leave --weights and --input out, or --train",
            )
        if has_weights and self.input_shape:
            raise RecipeError(
                "the size of the images is that of the data",
                where="--input",
                fix="leave it out, or resize the data: data.resize=32",
            )

    def subject_of(self, net: "Net") -> NetSubject:
        """Return what the brief judges of a net.

        Raises:
            ConvsmithError: As `check`.
        """
        if isinstance(net, Analysis):
            kind = "an analysis has no training, no weights and one shape"
            self._refuse(kind, "training", "weights", "overrides", "data", "input_shape")
            return NetSubject(name=net.title, subject=Subject(analysis=net))
        if isinstance(net, Recipe):
            self._refuse("a recipe has its own net and data", "weights", "overrides", "data", "input_shape")
        if self.training:
            return self._trained(net, self.training)
        if isinstance(net, Recipe):
            module = self.access.module
            recipe = net if module is None else with_instance(net, module)
            return subject_of_model(RecipeModel(recipe, access=self.access), recipe.name)
        instance = None if isinstance(net, str | Path) else net
        if self.weights is not None:
            return subject_of_weights(self._arguments(net), instance)
        if instance is not None:
            self._refuse("an instance has no fields of a recipe", "overrides")
            return subject_of_instance(
                instance, brief=self.brief, input_shape=self.input_shape, data=self.data
            )
        return subject_of_name(
            str(net),
            self.overrides,
            brief=self.brief,
            input_shape=self.input_shape,
            data=self.data,
            access=self.access,
        )

    def _refuse(self, reason: str, *names: str) -> None:
        """Raise RecipeError if an argument is set that has no effect."""
        named = ", ".join(name for name in names if getattr(self, name))
        if named:
            raise RecipeError(
                reason, where=named, fix="leave it out, or name the net: check('model.py:Net', ...)"
            )

    def _trained(self, net: "Recipe | nn.Module | str | Path", training: Training) -> NetSubject:
        from convsmith.api.train import train

        brief = self.brief
        instance: nn.Module | None = self.access.module
        if isinstance(net, Recipe):
            recipe, name = net if brief is None else net.model_copy(update={"brief": brief}), net.name
        else:
            instance = None if isinstance(net, str | Path) else net
            named = str(net) if instance is None else instance
            recipe = training_recipe_of(
                named, brief, base=training.recipe, data=self.data, overrides=self.overrides
            )
            name = named if isinstance(named, str) else type(named).__name__
        result = train(recipe, module=instance, runs=training.runs, callbacks=training.callbacks)
        return subject_of_run(result.folder, name, recipe, CodeAccess(trust=True, module=instance))

    def _arguments(self, net: "nn.Module | str | Path") -> "ModelArguments":
        from convsmith.models.arguments import ModelArguments
        from convsmith.recipes.brief_training import recipe_of_brief

        target, data = str(net) if isinstance(net, str | Path) else "", self.data
        # A recipe has data of its own.
        is_alone = not target or locate(target, "recipe").kind in {"module", "notation"}
        if data is None and self.brief is not None and is_alone:
            data = recipe_of_brief(self.brief)
        return ModelArguments(target=target, weights=self.weights, data=data, overrides=self.overrides)


@dataclass(frozen=True, kw_only=True)
class Judgements:
    """The judgements on several nets.

    Attributes:
        judgements: One for each net, in their order; one with an error for a net that cannot be judged.
        notes: What a user should know about modules of their own.
    """

    judgements: tuple[Judgement, ...]
    notes: tuple[str, ...]

    @property
    def errors(self) -> tuple[ConvsmithError, ...]:
        return tuple(each.error for each in self.judgements if each.error is not None)


def judge_nets(names: Sequence[str], options: CheckOptions, weights: Sequence[str | Path] = ()) -> Judgements:
    """Judge several nets by one brief; an error of one leaves the others.

    Args:
        names: As in `check`.
        options: For every net.
        weights: A file for each net; none for nets without weights from a file.

    Raises:
        RecipeError: The number of files is not that of the nets.
        StoppedError: A training was interrupted.
    """
    if weights and len(weights) != len(names):
        raise weights_count_error(weights, names)
    options.check_weights(has_weights=bool(weights))
    nets: dict[int, NetSubject] = {}
    errors: dict[int, Judgement] = {}
    for number, (name, file) in enumerate(zip_longest(names, map(str, weights))):
        try:
            nets[number] = replace(options, weights=file).subject_of(name)
        except StoppedError:
            raise
        except ConvsmithError as error:
            errors[number] = Judgement(name=name, definition=definition_of(name), error=error)
    each, whole = _verdicts(options.brief, list(nets.values()), several=len(names) > 1)
    of_nets = {
        number: net.judgement(checks) for (number, net), checks in zip(nets.items(), each, strict=True)
    }
    judgements = [{**of_nets, **errors}[number] for number in range(len(names))]
    together = [Judgement(name=_ALL, checks=whole)] if whole else []
    notes = dict.fromkeys(note for net in nets.values() for note in net.notes)
    return Judgements(judgements=(*judgements, *together), notes=tuple(notes))


def _joined(single: Sequence[Verdicts], whole: Verdicts) -> Verdicts:
    named = (replace(check, title=f"{each.net}: {check.title}") for each in single for check in each)
    return Verdicts((*whole, *named), net=_ALL)


def weights_count_error(weights: Sequence[object], names: Sequence[str]) -> RecipeError:
    """Return the error for files of weights that are not one for each net."""
    return RecipeError(
        f"found {plural(len(weights), 'file')} of weights for {plural(len(names), 'net')}",
        where="--weights",
        fix="name one file for each net, in the order of the nets",
    )


def _verdicts(
    brief: Brief | None, nets: Sequence[NetSubject], *, several: bool
) -> tuple[list[Verdicts], Verdicts]:
    """Judge nets, each by itself; several ones by one brief as the models of a hand-in.

    Returns:
        The verdicts on each net, and those on all of them together.
    """
    if brief is None or not several or not nets:
        each = [Verdicts(judge(brief or net.brief, net.subject), net=net.name) for net in nets]
        return each, Verdicts()
    # A net may be named twice, with other weights.
    names = [net.name for net in nets]
    unique = [
        f"{name} ({names[:index].count(name) + 1})" if names.count(name) > 1 else name
        for index, name in enumerate(names)
    ]
    hand_in = judge_all(brief, {name: net.subject for name, net in zip(unique, nets, strict=True)})
    return [Verdicts(hand_in.models[name], net=name) for name in unique], Verdicts(hand_in.whole, net=_ALL)
