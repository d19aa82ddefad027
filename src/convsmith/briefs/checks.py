"""A brief as numbered checks: each has a verdict, what was found, what is required, and a remedy."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from convsmith.briefs import remedies
from convsmith.briefs.structure import LayerKind, blocks, count_kind
from convsmith.net.analysis import Analysis
from convsmith.net.arithmetic import SpecAnalysis

TransformName = Literal["HorizontalFlip", "ShiftScaleRotate", "CoarseDropout"]
Verdict = Literal["pass", "fail", "not applicable"]
FileFormat = Literal["fp32", "fp16", "int8"]


class BlockPattern(BaseModel):
    """Blocks of convolutions before the output, as the course writes them: C1 C2 C3 C4 O."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    count: int = Field(ge=1, description="blocks with convolutions before the output")
    convolutions: int | None = Field(
        default=None, ge=1, description="convolutions in each; a separable one counts once"
    )
    shrink: Literal["strided-or-dilated", "any"] = Field(
        default="any",
        description="what the last convolution of each block must be where another block follows",
    )


class Brief(BaseModel):
    """What a net and its training must be. Fields left out are not checked."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    max_parameters: int | None = Field(default=None, ge=1, description="at most this many parameters")
    min_parameters: int | None = Field(default=None, ge=1, description="at least this many parameters")
    max_macs: int | None = Field(
        default=None, ge=1, description="at most this many multiply-accumulates an image"
    )
    max_activation_bytes: int | None = Field(
        default=None, ge=1, description="at most this much at one time for one image, in fp32"
    )
    max_file_bytes: int | None = Field(default=None, ge=1, description="at most this much for the weights")
    file_format: FileFormat = Field(default="fp32", description="of the weights that max_file_bytes is about")
    min_receptive_field: int | None = Field(
        default=None, ge=1, description="pixels a side, before global pooling or the fully connected layers"
    )
    full_coverage: bool = Field(default=False, description="every pixel of the image must be seen")
    require: Annotated[tuple[LayerKind, ...], Field(strict=False)] = Field(
        default=(), description="kinds of layer that the net must have"
    )
    forbid: Annotated[tuple[LayerKind, ...], Field(strict=False)] = Field(
        default=(), description="kinds of layer that the net must not have"
    )
    blocks: BlockPattern | None = Field(default=None, description="the pattern of the net's blocks")
    augmentations: Annotated[tuple[TransformName, ...], Field(strict=False)] = Field(
        default=(), description="transforms that the recipe must name"
    )
    min_accuracy: float | None = Field(
        default=None, gt=0, le=1, description="test accuracy of the last epoch, from 0 to 1"
    )
    max_calibration_error: float | None = Field(
        default=None, ge=0, lt=1, description="expected calibration error on the test set, from 0 to 1"
    )


@dataclass(frozen=True, kw_only=True)
class Trained:
    """What a run has shown on its test set, from 0 to 1."""

    accuracy: float
    calibration_error: float | None = None


@dataclass(frozen=True, kw_only=True)
class Check:
    """The outcome of one point of a brief."""

    title: str
    verdict: Verdict
    found: str
    required: str
    remedy: Callable[[], str] = field(default=str, compare=False, repr=False)

    @cached_property
    def fix(self) -> str:
        """What would mend it; empty where nothing has to be. It is worked out when it is asked for."""
        return self.remedy()


def judge(
    brief: Brief,
    analysis: Analysis,
    *,
    augmentations: tuple[str, ...] | None = None,
    trained: Trained | None = None,
) -> tuple[Check, ...]:
    """Check a net, and a run's figures where there is one, against a brief.

    Args:
        brief: What is required.
        analysis: The numbers of the net.
        augmentations: Names of the transforms that the recipe applies; without a recipe the points on
            them are not applicable.
        trained: A run's figures; without it the points on them are not applicable.

    Example:
        >>> from convsmith.net.arithmetic import analyze
        >>> from convsmith.net.notation import parse
        >>> from convsmith.net.plan import plan
        >>> facts = analyze(plan(parse("C64 M2 / F10"), (3, 32, 32)))
        >>> for check in judge(Brief(max_parameters=200_000, forbid=("max-pooling",)), facts):
        ...     print(check.verdict, "|", check.title, "|", check.found)
        pass | parameters | 165,706
        fail | no max-pooling | 1 layer
    """
    return (
        *_size_checks(brief, analysis),
        *_view_checks(brief, analysis),
        *_kind_checks(brief, analysis),
        *_block_checks(brief, analysis),
        *_augmentation_checks(brief, augmentations),
        *_trained_checks(brief, trained),
    )


def _size_checks(brief: Brief, analysis: Analysis) -> Iterator[Check]:
    parameters = analysis.parameters
    if (most := brief.max_parameters) is not None:
        yield _bound(
            "parameters",
            parameters,
            most,
            lambda: _over(analysis, parameters - most, "parameters", lambda other: other.parameters <= most),
        )
    if (least := brief.min_parameters) is not None:
        yield _check(
            "parameters",
            passed=parameters >= least,
            found=f"{parameters:,}",
            required=f"at least {least:,}",
            fix=lambda: f"{least - parameters:,} too few: widen layers or add some",
        )
    if (macs := brief.max_macs) is not None:
        if analysis.unknown_macs:
            names = ", ".join(row.name for row in analysis.unknown_macs[:3])
            yield _unknown("MACs", f"at most {macs:,}", f"those of {names} are unknown")
        else:
            yield _bound(
                "MACs",
                analysis.macs,
                macs,
                lambda: _over(analysis, analysis.macs - macs, "macs", lambda other: other.macs <= macs),
            )
    if (room := brief.max_activation_bytes) is not None:
        yield _bound(
            "activation memory in bytes",
            analysis.peak_activation_bytes,
            room,
            lambda: "stride earlier, or narrow the layers on large maps",
        )
    if (file := brief.max_file_bytes) is not None:
        size = analysis.file_bytes[brief.file_format]
        yield _bound(
            f"weights in {brief.file_format}, bytes",
            size,
            file,
            lambda: "narrow the layers, or use a smaller format",
        )


def _view_checks(brief: Brief, analysis: Analysis) -> Iterator[Check]:
    if (least := brief.min_receptive_field) is not None:
        required = f"at least {least} pixels"
        field = analysis.receptive_field
        if field is None:
            yield _unknown("receptive field", required, analysis.final_receptive_field.unknown)
        else:
            yield _check(
                "receptive field",
                passed=field >= least,
                found=f"{field} pixels",
                required=required,
                fix=lambda: _reach(analysis, least),
            )
    if brief.full_coverage:
        if analysis.uncovered is None:
            yield _unknown("coverage of the image", "every pixel is seen", "what the outputs see")
        else:
            missed = " and ".join(map(str, analysis.uncovered))
            yield _check(
                "coverage of the image",
                passed=not any(analysis.uncovered),
                found=f"{missed} rows and columns are not seen" if any(analysis.uncovered) else "all of it",
                required="every pixel is seen",
                fix=lambda: "keep strides within kernels, and add padding where the last pixels are cut off",
            )


def _kind_checks(brief: Brief, analysis: Analysis) -> Iterator[Check]:
    for kind in brief.require:
        count = count_kind(analysis.rows, kind)
        yield _check(
            kind,
            passed=count > 0,
            found=_layers(count),
            required="at least 1 layer",
            fix=lambda kind=kind: _ADDING[kind],  # type: ignore[misc]
        )
    for kind in brief.forbid:
        count = count_kind(analysis.rows, kind)
        yield _check(
            f"no {kind}",
            passed=not count,
            found=_layers(count),
            required="none",
            fix=lambda kind=kind: f"replace them: {_REPLACING[kind]}",  # type: ignore[misc]
        )


def _block_checks(brief: Brief, analysis: Analysis) -> Iterator[Check]:
    if (pattern := brief.blocks) is None:
        return
    found = blocks(analysis.rows)
    yield _check(
        "blocks of convolutions",
        passed=len(found) == pattern.count,
        found=f"{len(found)}",
        required=f"{pattern.count} before the output",
        fix=lambda: "separate blocks by '/', and put the head in a block of its own",
    )
    if (each := pattern.convolutions) is not None:
        counts = [len(block.convolutions) for block in found]
        wrong = [block.name for block in found if len(block.convolutions) != each]
        yield _check(
            "convolutions in each block",
            passed=bool(counts) and set(counts) == {each},
            found=", ".join(map(str, counts)) or "none",
            required=f"{each} each",
            fix=lambda: _block_names(f"give {each} to", wrong),
        )
    if pattern.shrink == "strided-or-dilated":
        plain = [block.name for block in found[:-1] if not block.shrinks_at_its_end]
        yield _check(
            "stride or dilation at block ends",
            passed=not plain and bool(found),
            found=f"none in {', '.join(plain)}" if plain else "all",
            required="in every block that another follows",
            fix=lambda: _block_names("write :s2 or :d2 at the last convolution of", plain),
        )


def _augmentation_checks(brief: Brief, augmentations: tuple[str, ...] | None) -> Iterator[Check]:
    for name in brief.augmentations:
        title = f"augmentation {name}"
        if augmentations is None:
            yield Check(title=title, verdict="not applicable", found="no recipe", required="named")
        else:
            present = name in augmentations
            yield _check(
                title,
                passed=present,
                found="named" if present else "not named",
                required="named",
                fix=lambda name=name: f'add a table [[augment.transforms]] with name = "{name}"',  # type: ignore[misc]
            )


def _trained_checks(brief: Brief, trained: Trained | None) -> Iterator[Check]:
    missing = "not trained" if trained is None else "not measured"
    if (least := brief.min_accuracy) is not None:
        yield _trained_check(
            "test accuracy",
            None if trained is None else trained.accuracy,
            f"at least {least:.2%}",
            passes=lambda found: found >= least,
            fix="train longer, or with another net or other settings",
            missing=missing,
        )
    if (most := brief.max_calibration_error) is not None:
        yield _trained_check(
            "calibration error",
            None if trained is None else trained.calibration_error,
            f"at most {most:.2%}",
            passes=lambda found: found <= most,
            fix="less label smoothing, or a temperature fitted on held-out images",
            missing=missing,
        )


def _trained_check(
    title: str,
    found: float | None,
    required: str,
    *,
    passes: Callable[[float], bool],
    fix: str,
    missing: str,
) -> Check:
    if found is None:
        return Check(
            title=title,
            verdict="not applicable",
            found=missing,
            required=required,
            remedy=lambda: "train the recipe, then check the run's folder",
        )
    return _check(title, passed=passes(found), found=f"{found:.2%}", required=required, fix=lambda: fix)


def _check(title: str, *, passed: bool, found: str, required: str, fix: Callable[[], str]) -> Check:
    return Check(
        title=title,
        verdict="pass" if passed else "fail",
        found=found,
        required=required,
        remedy=str if passed else fix,
    )


def _bound(title: str, found: int, most: int, fix: Callable[[], str]) -> Check:
    return _check(title, passed=found <= most, found=f"{found:,}", required=f"at most {most:,}", fix=fix)


def _unknown(title: str, required: str, reason: str) -> Check:
    """What cannot be known is not passed."""
    return Check(
        title=title,
        verdict="fail",
        found=f"unknown: {reason}",
        required=required,
        remedy=lambda: "write that part with layers that can be followed",
    )


def _over(analysis: Analysis, over: int, number: str, keeps: Callable[[Analysis], bool]) -> str:
    rows = sorted(analysis.rows, key=lambda row: getattr(row, number) or 0, reverse=True)[:3]
    largest = ", ".join(f"{row.layer or row.name} ({getattr(row, number):,})" for row in rows)
    text = f"{over:,} over; the largest layers are {largest}"
    smaller = remedies.narrower(analysis, keeps) if isinstance(analysis, SpecAnalysis) else ""
    return f"{text}; {smaller}" if smaller else text


def _reach(analysis: Analysis, least: int) -> str:
    found = ""
    if isinstance(analysis, SpecAnalysis):
        found = remedies.farther(analysis, lambda other: (other.receptive_field or 0) >= least)
    return found or "dilate 3x3 convolutions, stride earlier, or add layers"


def _layers(count: int) -> str:
    return f"{count} layer{'' if count == 1 else 's'}"


def _block_names(what: str, names: list[str]) -> str:
    return f"{what} {', '.join(names)}" if names else "the net has no block of convolutions"


_ADDING: dict[LayerKind, str] = {
    "depthwise-separable": "write S32 in place of a C32",
    "dilated": "write C32:d2 in place of a C32",
    "strided": "write C32:s2 in place of a C32",
    "transposed": "the notation has none; give a module of your own",
    "residual": "put layers of equal width into +( ... )",
    "concatenation": "the notation has none; give a module of your own",
    "max-pooling": "add M2",
    "average-pooling": "add A2",
    "global-average-pooling": "add G before the classifier",
    "fully-connected": "end the net with F10",
}
_REPLACING: dict[LayerKind, str] = {
    "depthwise-separable": "write C32 for S32",
    "dilated": "leave :d2 out",
    "strided": "leave :s2 out",
    "transposed": "upsample and convolve",
    "residual": "write the layers without +( )",
    "concatenation": "add the branches instead",
    "max-pooling": "give the convolution before it a stride, C32:s2",
    "average-pooling": "give the convolution before it a stride, C32:s2",
    "global-average-pooling": "flatten into a fully connected layer, F10",
    "fully-connected": "end with a pointwise convolution, P10, after or before G",
}
