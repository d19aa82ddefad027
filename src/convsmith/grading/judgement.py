"""The judgement of one submission: its nets, verdicts, score, training, claims and signatures."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from convsmith.briefs.check import Check
from convsmith.briefs.checks import judge
from convsmith.briefs.hand_in import judge_all
from convsmith.briefs.metrics import EpochAccuracy, RunMetrics
from convsmith.briefs.schema import Brief
from convsmith.briefs.subject import Subject
from convsmith.data.dataset import ImageDataset
from convsmith.errors import ConvsmithError, DataError
from convsmith.grading import images, scoring, training
from convsmith.grading.analysis_record import analysis_record
from convsmith.grading.choice import Choice, choose
from convsmith.grading.claims import Measured, claims_of
from convsmith.grading.discovery import Candidate, Discovery, discover
from convsmith.grading.files import SubmissionFiles, files_of
from convsmith.grading.lines import lines_of
from convsmith.grading.notes import notes_of
from convsmith.grading.places import without_folder
from convsmith.grading.record import (
    CheckRecord,
    NetRecord,
    Request,
    ScoreRecord,
    Signature,
    State,
    StepRecord,
    SubmissionRecord,
    TrainingRecord,
)
from convsmith.grading.signatures import weights_of
from convsmith.net.analysis import Analysis
from convsmith.text import in_line
from convsmith.training.config import TrainConfig

_MAX_TEXT, _MAX_NETS = 600, 60


@dataclass(frozen=True, kw_only=True)
class _Context:
    """What is the same for all nets of a submission."""

    request: Request
    folder: Path
    brief: Brief
    data: ImageDataset | None
    weights: Sequence[scoring.WeightsFile]


def judge_submission(request: Request) -> SubmissionRecord:
    """Judge the files in the folder of a request.

    Raises:
        ConvsmithError: A hint or the prepared images cannot be used.
    """
    folder = Path(request.folder)
    brief = Brief.model_validate_json(json.dumps(request.brief))
    files = files_of(folder)
    discovery = discover(folder, files, request.image_shape, request.num_classes, request.hints.nets)
    weights = scoring.read_weights(folder, files.weights, request.hints.weights)
    choice = _choice(discovery, brief, request, weights)
    record = SubmissionRecord(
        submission=request.submission,
        state="judged" if choice.nets else _state(discovery),
        problem=text(choice.problem) if discovery.candidates else _nothing(files, discovery),
        fix="" if choice.nets else _fix(discovery),
        nets=tuple(map(_net_record, discovery.candidates[:_MAX_NETS])),
        notes=tuple(map(text, (*files.notes, *discovery.notes))),
    )
    data = images.read(Path(request.data), trains=request.train) if request.data else None
    context = _Context(request=request, folder=folder, brief=brief, data=data, weights=weights)
    lines = lines_of(folder, files)
    results = [_measure(net, context) for net in choice.nets]
    steps, whole = _verdicts(results, choice.reason, context, notes_of(lines))
    claims, curve = claims_of(lines, _measured(steps, discovery))
    return record.model_copy(update={"steps": steps, "brief_checks": whole, "claims": claims, "curve": curve})


def text(value: str) -> str:
    """Return a text as a record takes it: printable, in one line, not too long."""
    line = in_line(" ".join(value.split()))
    return line if len(line) <= _MAX_TEXT else f"{line[: _MAX_TEXT - 1]}…"


def _choice(
    discovery: Discovery, brief: Brief, request: Request, weights: Sequence[scoring.WeightsFile]
) -> Choice:
    if request.hints.nets:
        return Choice(nets=discovery.candidates, reason="by the hint")
    fitting = discovery.fitting
    fitted = [each.name for each in fitting if scoring.fitting(each, weights)[0]] if len(fitting) > 1 else []
    several = brief.steps is not None or bool(brief.variants)
    return choose(
        discovery.candidates,
        several=several,
        weights=fitted,
        passes=lambda each: (
            each.analysis is not None
            and not any(
                check.verdict == "fail"
                for check in judge(brief.without_variants(), Subject(analysis=each.analysis))
            )
        ),
    )


def _state(discovery: Discovery) -> State:
    return "several nets" if discovery.fitting else "no net"


def _nothing(files: SubmissionFiles, discovery: Discovery) -> str:
    if not files.count:
        return text(files.notes[0]) if files.notes else "the folder is empty"
    if not files.code:
        return "no .py file and no notebook"
    if discovery.notes:
        return text(f"no net was found; {discovery.notes[0]}")
    return "no net was found: no class derives from torch.nn.Module"


def _fix(discovery: Discovery) -> str:
    fitting = discovery.fitting or discovery.candidates
    if not fitting:
        return "open its folder; name its net in a CSV with the columns name,path,net"
    return text(f"name it in a CSV with the columns name,path,net, for example {fitting[-1].name}")


def _net_record(candidate: Candidate) -> NetRecord:
    reasons = [f"created in {use.file}, {use.place}" for use in candidate.uses[:3]]
    return NetRecord(
        reference=text(candidate.name)[:1000],
        parameters=candidate.parameters,
        problem=text(candidate.problem),
        reasons=tuple(reasons),
    )


@dataclass(frozen=True, kw_only=True)
class _Result:
    """What is known of one chosen net before it is judged."""

    candidate: Candidate
    score: ScoreRecord | None = None
    trained: TrainingRecord | None = None
    config: TrainConfig | None = None
    weights: str = ""
    mismatch: tuple[CheckRecord, ...] = ()
    notes: tuple[str, ...] = ()


def _measure(candidate: Candidate, context: _Context) -> _Result:
    """Score and train one net; what fails on the way is a note or a check of its record."""
    notes = list(candidate.architecture.notes) if candidate.architecture else []
    if not candidate.fits:
        return _Result(candidate=candidate, notes=tuple(notes))
    score, digest, more = _score(candidate, context)
    mismatch = (_mismatch(more[0]),) if more and not digest and _needs_weights(context) else ()
    notes += more
    trained, config = None, None
    if context.request.train:
        try:
            trained, score, config = _training(candidate, context)
        except ConvsmithError as error:
            problem = error.problems[0]
            fix = f"; {problem.fix}" if problem.fix else ""
            notes.append(f"it cannot be trained: {problem.what}{fix}")
    return _Result(
        candidate=candidate,
        score=score,
        trained=trained,
        config=config,
        weights=digest,
        mismatch=mismatch,
        notes=tuple(notes),
    )


def _verdicts(
    results: Sequence[_Result], reason: str, context: _Context, notes: Sequence[Mapping[str, str]]
) -> tuple[tuple[StepRecord, ...], tuple[CheckRecord, ...]]:
    """Return the record of each net, and the verdicts on all of them together."""
    subjects = {}
    for number, each in enumerate(results):
        if each.candidate.analysis is not None:
            subjects[each.candidate.name] = Subject(
                analysis=each.candidate.analysis,
                metrics=_metrics(each.score, each.trained),
                # Of a training anew; how a student trained is not known.
                training=each.config,
                notes=(notes[number] if number < len(notes) else {}) if notes else None,
            )
    if not subjects:
        return tuple(_step(each, reason, ()) for each in results), ()
    verdicts = judge_all(context.brief, subjects)

    def records(checks: Iterable[Check]) -> tuple[CheckRecord, ...]:
        return tuple(_check_record(check, context.folder) for check in checks)

    steps = tuple(
        _step(each, reason, records(verdicts.models.get(each.candidate.name, ()))) for each in results
    )
    return steps, records(verdicts.whole)


def _step(result: _Result, reason: str, checks: tuple[CheckRecord, ...]) -> StepRecord:
    candidate = result.candidate
    signature = Signature(
        net=candidate.name[:1000],
        structure=candidate.structure,
        source=candidate.source,
        weights=result.weights,
    )
    return StepRecord(
        net=text(candidate.name)[:1000],
        chosen=reason,
        problem=text(candidate.problem),
        fix=text(candidate.fix),
        checks=(*checks, *result.mismatch),
        analysis=None if candidate.analysis is None else analysis_record(candidate.analysis),
        score=result.score,
        training=result.trained,
        signature=signature if candidate.structure else None,
        notes=tuple(map(text, result.notes)),
    )


def _score(candidate: Candidate, context: _Context) -> tuple[ScoreRecord | None, str, list[str]]:
    """Return the score of the weights that fit, their hash, and notes on those that do not."""
    notes = [f"{each.name}: {each.problem}" for each in context.weights if each.problem]
    if not context.weights:
        return None, "", []
    fitting, problem = scoring.fitting(candidate, context.weights)
    if not fitting:
        return None, "", [*notes, problem] if problem else notes
    file, note = scoring.choose_file(fitting, context.folder, candidate.reference.name)
    notes += [note] if note else []
    assert file.weights is not None, "it fits"
    digest = weights_of(file.weights.tensors)
    if context.data is None:
        return None, digest, [*notes, f"{file.name} was not scored: this grading has no images"]
    try:
        return scoring.score(candidate, file, context.data), digest, notes
    except ConvsmithError as error:
        return None, digest, [*notes, f"{file.name} could not be scored: {error.problems[0].what}"]


def _needs_weights(context: _Context) -> bool:
    """Whether the accuracy of the submission's own weights is judged."""
    brief = context.brief
    needed = any(each is not None for each in (brief.min_accuracy, brief.max_calibration_error))
    return not context.request.train and (needed or bool(context.request.hints.weights))


def _mismatch(problem: str) -> CheckRecord:
    return CheckRecord(
        title="weights",
        verdict="fail",
        actual=text(problem),
        required="a file with the weights of this net",
        fix="save them anew: torch.save(net.state_dict(), 'net.pth')",
    )


def _training(candidate: Candidate, context: _Context) -> tuple[TrainingRecord, ScoreRecord, TrainConfig]:
    request = context.request
    if context.data is None:
        raise DataError("this grading has no images")
    return training.train_anew(candidate, context.data, request.recipe, context.brief, request.seed)


def _metrics(score: ScoreRecord | None, trained: TrainingRecord | None) -> RunMetrics | None:
    if score is None:
        return None
    epochs = trained.epochs if trained else ()
    return RunMetrics(
        accuracy=score.accuracy,
        epochs=tuple(EpochAccuracy(epoch=each.epoch, train=each.train, test=each.test) for each in epochs),
    )


def _check_record(check: Check, folder: Path) -> CheckRecord:
    def inside(value: str) -> str:
        # The private copy of a submission has a place that means nothing to a reader.
        return text(without_folder(value, folder))

    location = check.location
    return CheckRecord(
        title=text(check.title)[:1000],
        verdict=check.verdict,
        actual=inside(check.actual),
        required=inside(check.required),
        # A check that is not applicable speaks of recipes and runs.
        fix=inside(check.fix) if check.verdict == "fail" else "",
        layer=text(check.layer)[:1000],
        file=inside(location.file)[:1000] if location else "",
        line=location.line if location else None,
    )


def _measured(steps: Sequence[StepRecord], discovery: Discovery) -> Measured:
    nets = {each.name: each for each in discovery.candidates}
    # Where none was chosen, claims are those of all nets that fit.
    chosen = [step.net for step in steps] or [each.name for each in discovery.fitting]
    of_nets = {net: nets[net].analysis for net in chosen if net in nets}
    analyses = {net: analysis for net, analysis in of_nets.items() if analysis is not None}
    scores = {step.net: (step.score.accuracy, step.score.total) for step in steps if step.score}
    trained = {step.net for step in steps if step.training}
    return Measured(
        parameters={net: each.parameters for net, each in analyses.items()},
        repeated={net: _repeated(each) for net, each in analyses.items()},
        others={
            each.name: each.parameters
            for each in discovery.candidates
            if each.parameters and each.name not in of_nets
        },
        fields={net: each.receptive_field for net, each in analyses.items() if each.receptive_field},
        scores={net: score for net, score in scores.items() if net not in trained},
        trained={net: score for net, score in scores.items() if net in trained},
    )


def _repeated(analysis: Analysis) -> int:
    """Count the parameters of a layer as often as it is called, as torchsummary does."""
    sizes: Counter[str] = Counter()
    for row in analysis.rows:
        sizes[row.name] += row.parameters
    return sum(sizes[row.name] for row in analysis.rows)
