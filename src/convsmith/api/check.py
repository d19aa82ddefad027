"""Judge networks by briefs."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING

from convsmith.briefs.checks import judge
from convsmith.briefs.judgement import Judgement
from convsmith.briefs.loader import load_brief
from convsmith.briefs.metrics import RunMetrics
from convsmith.briefs.schema import Brief
from convsmith.briefs.subject import Subject
from convsmith.briefs.verdicts import Verdicts
from convsmith.errors import ConvsmithError, RecipeError, StoppedError
from convsmith.models.judged import JudgedNet, judged_instance, judged_model, judged_name, judged_weights
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
    from torch import nn

    from convsmith.models.arguments import ModelArguments


def check(
    net: "Recipe | Analysis | nn.Module | str | Path",
    *overrides: str,
    brief: str | Path | Brief | None = None,
    weights: str | Path | None = None,
    data: str | Path | None = None,
    input_shape: Inputs | None = None,
    trained: RunMetrics | None = None,
    module: "nn.Module | None" = None,
    trust_code: bool = False,
) -> Verdicts:
    """Judge a network by a brief.

    In a test of your own: `cs.check(Net(), brief="brief.toml", data="mnist").require()`.

    Args:
        net: An instance of a module, a recipe, an analysis from `summary`, or a name: "model.py:Net",
            notation, a recipe, the folder of a run or a bundle, a model of the zoo.
        overrides: For a name: fields of its recipe, as `key=value`.
        brief: A brief, or its name or file; by default the recipe's brief.
        weights: A file of safetensors or of `torch.save`, for an instance or the name of an untrained net: it
            is evaluated once on the test images of `data`, so that checks of the accuracy apply.
        data: The data set of the weights, a name or a folder; without weights for the shape of its images.
        input_shape: `(C, H, W)` of one image; by default that of the data, or of the library's recipe for the
            brief.
        trained: Accuracy and calibration of a run. Without them, their checks are not applicable.
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
        options = CheckOptions.of(
            overrides,
            brief=brief,
            weights=weights,
            data=data,
            input_shape=input_shape,
            access=CodeAccess(trust=trust_code, module=module),
        )
        judged = options.judged(net)
        if trained is not None:
            judged = replace(judged, subject=replace(judged.subject, metrics=trained))
        return Verdicts(judge(options.brief or judged.brief, judged.subject), net=judged.name)
    except ConvsmithError as error:
        # What was wrong is in the message; the way through this library explains nothing.
        raise error.with_traceback(None) from None


@dataclass(frozen=True, kw_only=True)
class CheckOptions:
    """The arguments of a check, besides the net."""

    overrides: Sequence[str] = ()
    brief: Brief | None = None
    weights: str | None = None
    data: str | None = None
    input_shape: Inputs | None = None
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
        access: CodeAccess = NO_CODE,
    ) -> "CheckOptions":
        """Load the brief. Raises RecipeError or FileError if there is none of the name."""
        return cls(
            overrides=overrides,
            brief=load_brief(str(brief)) if isinstance(brief, str | Path) else brief,
            weights=None if weights is None else str(weights),
            data=None if data is None else str(data),
            input_shape=input_shape,
            access=access,
        )

    def judged(self, net: "Recipe | Analysis | nn.Module | str | Path") -> JudgedNet:
        """Return what the brief judges of a net.

        Raises:
            ConvsmithError: As `check`.
        """
        if isinstance(net, Analysis):
            return JudgedNet(name=net.title, subject=Subject(analysis=net))
        if isinstance(net, Recipe):
            module = self.access.module
            recipe = net if module is None else with_instance(net, module)
            return judged_model(RecipeModel(recipe, access=self.access), recipe.name)
        instance = None if isinstance(net, str | Path) else net
        if self.weights is not None:
            return judged_weights(self._arguments(net), instance)
        if instance is not None:
            return judged_instance(instance, brief=self.brief, input_shape=self.input_shape, data=self.data)
        return judged_name(
            str(net),
            self.overrides,
            brief=self.brief,
            input_shape=self.input_shape,
            data=self.data,
            access=self.access,
        )

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
class Judged:
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


def judge_nets(names: Sequence[str], options: CheckOptions, weights: Sequence[str | Path] = ()) -> Judged:
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
        raise RecipeError(
            f"found {plural(len(weights), 'file')} of weights for {plural(len(names), 'net')}",
            where="--weights",
            fix="name one file for each net, in the order of the nets",
        )
    judgements, notes = [], []
    for name, file in zip_longest(names, map(str, weights)):
        try:
            net = replace(options, weights=file).judged(name)
            checks = Verdicts(judge(options.brief or net.brief, net.subject), net=net.name)
        except StoppedError:
            raise
        except ConvsmithError as error:
            judgements.append(Judgement(name=name, definition=definition_of(name), error=error))
        else:
            notes += [note for note in net.notes if note not in notes]
            judgements.append(net.judgement(checks))
    return Judged(judgements=tuple(judgements), notes=tuple(notes))
