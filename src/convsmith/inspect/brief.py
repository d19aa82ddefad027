"""A brief as numbered checks: each has a verdict, what was found, what is required, and a remedy."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from convsmith.arch.analyze import SpecAnalysis
from convsmith.arch.spec import Net, Residual

LayerKind = Literal[
    "depthwise-separable",
    "dilated",
    "strided",
    "residual",
    "max-pooling",
    "average-pooling",
    "global-average-pooling",
    "fully-connected",
]
TransformName = Literal["HorizontalFlip", "ShiftScaleRotate", "CoarseDropout"]
Verdict = Literal["pass", "fail", "not applicable"]


class Brief(BaseModel):
    """What a net and its training must be. Fields left out are not checked."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    max_parameters: int | None = Field(default=None, ge=1, description="at most this many parameters")
    max_macs: int | None = Field(
        default=None, ge=1, description="at most this many multiply-accumulates an image"
    )
    min_receptive_field: int | None = Field(
        default=None, ge=1, description="pixels a side, before global pooling or the fully connected layers"
    )
    require: Annotated[tuple[LayerKind, ...], Field(strict=False)] = Field(
        default=(), description="kinds of layer that the net must have"
    )
    forbid: Annotated[tuple[LayerKind, ...], Field(strict=False)] = Field(
        default=(), description="kinds of layer that the net must not have"
    )
    augmentations: Annotated[tuple[TransformName, ...], Field(strict=False)] = Field(
        default=(), description="transforms that the recipe must name"
    )
    min_accuracy: float | None = Field(
        default=None, gt=0, le=1, description="test accuracy of the last epoch, from 0 to 1"
    )


@dataclass(frozen=True, kw_only=True)
class Check:
    """The outcome of one point of a brief."""

    title: str
    verdict: Verdict
    found: str
    required: str
    fix: str = ""


def judge(
    brief: Brief,
    analysis: SpecAnalysis,
    *,
    augmentations: tuple[str, ...] = (),
    accuracy: float | None = None,
) -> tuple[Check, ...]:
    """Check a net, and a run's accuracy where there is one, against a brief.

    Args:
        brief: What is required.
        analysis: The numbers of the net.
        augmentations: Names of the transforms that the recipe applies.
        accuracy: Test accuracy from 0 to 1; without it the point on accuracy is not applicable.

    Example:
        >>> from convsmith.arch.analyze import analyze
        >>> from convsmith.arch.notation import parse
        >>> from convsmith.arch.plan import plan
        >>> facts = analyze(plan(parse("C64 M2 / F10"), (3, 32, 32)))
        >>> for check in judge(Brief(max_parameters=200_000, forbid=("max-pooling",)), facts):
        ...     print(check.verdict, "|", check.title, "|", check.found)
        pass | parameters | 165,706
        fail | no max-pooling | 1 layer
    """
    return (
        *_number_checks(brief, analysis),
        *_kind_checks(brief, analysis.plan.net),
        *_augmentation_checks(brief, augmentations),
        *_accuracy_checks(brief, accuracy),
    )


def count_kind(net: Net, kind: LayerKind) -> int:
    """How many layers of the net are of a kind, repeats unrolled."""
    return _COUNTS[kind](net)


_COUNTS: dict[LayerKind, Callable[[Net], int]] = {
    "depthwise-separable": lambda net: _letters(net, "S"),
    "dilated": lambda net: sum(layer.dilation > 1 and layer.kind in "CSD" for layer in net.layers()),
    "strided": lambda net: sum(layer.stride > 1 and layer.kind in "CSDP" for layer in net.layers()),
    "residual": lambda net: sum(isinstance(item, Residual) for item in net.items()),
    "max-pooling": lambda net: _letters(net, "M"),
    "average-pooling": lambda net: _letters(net, "A"),
    "global-average-pooling": lambda net: _letters(net, "G"),
    "fully-connected": lambda net: _letters(net, "F"),
}


def _letters(net: Net, letter: str) -> int:
    return sum(layer.kind == letter for layer in net.layers())


def _number_checks(brief: Brief, analysis: SpecAnalysis) -> Iterator[Check]:
    if brief.max_parameters is not None:
        over = analysis.parameters - brief.max_parameters
        yield _check(
            "parameters",
            passed=over <= 0,
            found=f"{analysis.parameters:,}",
            required=f"at most {brief.max_parameters:,}",
            fix=f"{over:,} over; the largest layers are {_largest(analysis)}",
        )
    if brief.max_macs is not None:
        yield _check(
            "MACs",
            passed=analysis.macs <= brief.max_macs,
            found=f"{analysis.macs:,}",
            required=f"at most {brief.max_macs:,}",
            fix="stride earlier, or narrow the layers on large maps",
        )
    if brief.min_receptive_field is not None:
        yield _check(
            "receptive field",
            passed=analysis.receptive_field >= brief.min_receptive_field,
            found=f"{analysis.receptive_field} pixels",
            required=f"at least {brief.min_receptive_field} pixels",
            fix="dilate a 3x3 convolution, stride earlier, or add one",
        )


def _kind_checks(brief: Brief, net: Net) -> Iterator[Check]:
    for kind in brief.require:
        count = count_kind(net, kind)
        yield _check(
            kind, passed=count > 0, found=_layers(count), required="at least 1 layer", fix=_ADDING[kind]
        )
    for kind in brief.forbid:
        count = count_kind(net, kind)
        yield _check(
            f"no {kind}",
            passed=not count,
            found=_layers(count),
            required="none",
            fix=f"replace them: {_REPLACING[kind]}",
        )


def _augmentation_checks(brief: Brief, augmentations: tuple[str, ...]) -> Iterator[Check]:
    for name in brief.augmentations:
        present = name in augmentations
        yield _check(
            f"augmentation {name}",
            passed=present,
            found="named" if present else "not named",
            required="named",
            fix=f'add a table [[augment.transforms]] with name = "{name}"',
        )


def _accuracy_checks(brief: Brief, accuracy: float | None) -> Iterator[Check]:
    if brief.min_accuracy is None:
        return
    required = f"at least {brief.min_accuracy:.2%}"
    if accuracy is None:
        yield Check(
            title="test accuracy",
            verdict="not applicable",
            found="not trained",
            required=required,
            fix="train the recipe, then check the run's folder",
        )
    else:
        yield _check(
            "test accuracy",
            passed=accuracy >= brief.min_accuracy,
            found=f"{accuracy:.2%}",
            required=required,
            fix="train longer, or with another net or other settings",
        )


def _check(title: str, *, passed: bool, found: str, required: str, fix: str) -> Check:
    return Check(
        title=title,
        verdict="pass" if passed else "fail",
        found=found,
        required=required,
        fix="" if passed else fix,
    )


def _largest(analysis: SpecAnalysis) -> str:
    rows = sorted(analysis.rows, key=lambda row: row.parameters, reverse=True)[:3]
    return ", ".join(f"{row.layer} ({row.parameters:,})" for row in rows if row.parameters)


def _layers(count: int) -> str:
    return f"{count} layer{'' if count == 1 else 's'}"


_ADDING: dict[LayerKind, str] = {
    "depthwise-separable": "write S32 in place of a C32",
    "dilated": "write C32:d2 in place of a C32",
    "strided": "write C32:s2 in place of a C32",
    "residual": "put layers of equal width into +( ... )",
    "max-pooling": "add M2",
    "average-pooling": "add A2",
    "global-average-pooling": "add G before the classifier",
    "fully-connected": "end the net with F10",
}
_REPLACING: dict[LayerKind, str] = {
    "depthwise-separable": "write C32 for S32",
    "dilated": "leave :d2 out",
    "strided": "leave :s2 out",
    "residual": "write the layers without +( )",
    "max-pooling": "give the convolution before it a stride, C32:s2",
    "average-pooling": "give the convolution before it a stride, C32:s2",
    "global-average-pooling": "flatten into a fully connected layer, F10",
    "fully-connected": "end with a pointwise convolution, P10, after or before G",
}
