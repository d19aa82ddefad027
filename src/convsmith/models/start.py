"""The start of a training: the weights of a run, a bundle, the zoo or a file, which fine-tuning begins with.

Only weights, class names, and mean and deviation of the images are read; the code of a module is not run.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import safetensors
import safetensors.torch
from torch import Tensor, nn

from convsmith.data.config import DataConfig
from convsmith.data.dataset import TrainingData
from convsmith.data.labels import canonical_name
from convsmith.errors import BundleError, RecipeError, RunError
from convsmith.evaluation.schema import Results
from convsmith.models import bundle as bundles
from convsmith.models.leaks import leak_notes, split_settings
from convsmith.models.model import Model
from convsmith.models.resolve import locate
from convsmith.models.zoo import unknown_zoo_model, zoo_folder, zoo_name
from convsmith.modules.transfer import Transfer, take_weights
from convsmith.modules.weights import read_state_dict
from convsmith.recipes.fit import parts_of_net
from convsmith.recipes.schema import Recipe
from convsmith.recipes.session import TrainingSession
from convsmith.runs.code import resume_command
from convsmith.runs.folder import WEIGHTS, RunFolder
from convsmith.runs.schema import DataRecord, SeenData, StartRecord
from convsmith.system import paths, reading
from convsmith.system.folders import expand_user
from convsmith.text import in_line, plural
from convsmith.training.parts import describe
from convsmith.training.standardization import changed_layers

FIELD = "train.start_from"
S = TypeVar("S", bound=TrainingSession)
_KEEP = "train.head=start keeps its weights"


@dataclass(frozen=True, kw_only=True)
class Start:
    """Weights that a training begins with.

    Attributes:
        place: The name in the zoo, the folder or the file, absolute.
        title: The same in a sentence, without the folders that it is in.
        tensors: By name.
        sha256: Of the file of weights.
        net: In the notation, or the module with its arguments; empty if it is not known.
        class_names: Empty if they are not known.
        mean: Of each channel of its images, with `std`; empty if they are not known.
        accuracy: On its own test set, from 0 to 1; None if it is not known.
        seen: The data sets that it, and the starts that it began with, were trained on.
        images: The `[data]` table of its own training; None if it is not known.
        notes: What was chosen in a file.
    """

    place: str
    title: str
    tensors: Mapping[str, Tensor]
    sha256: str
    net: str = ""
    class_names: tuple[str, ...] = ()
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    accuracy: float | None = None
    seen: tuple[SeenData, ...] = ()
    images: DataConfig | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class FineTuning(Generic[S]):
    """A session whose net begins with the weights of a start.

    Attributes:
        session: With the mean and the deviation of the start, unless the recipe names others.
        record: For the run folder.
    """

    session: S
    record: StartRecord

    def lines(self) -> list[str]:
        """Return the lines of the run's log."""
        record = self.record
        return [
            f"Start: {record.sentence}",
            *record.table.splitlines(),
            *(f"Note: {note}" for note in record.notes),
        ]


def read_start(text: str) -> Start:
    """Read the weights of a run, a bundle, a model of the zoo or a file.

    Args:
        text: A folder, a name, or a file of safetensors or of `torch.save`; `net.pth#ema` chooses in a file.

    Raises:
        RunError: The run is not finished, or damaged.
        BundleError: Nothing has this name, or the bundle is damaged.
        FileError: The file cannot be read, or holds a program.
        ModuleError: The file has no weights.

    Example:
        >>> start = read_start("digits")
        >>> start.title, (round(start.mean[0], 3),), start.class_names[:2]
        ('digits of the zoo', (0.304,), ('0', '1'))
    """
    path = expand_user(text)
    if paths.is_file(path) or ("#" in text and paths.is_file(Path(str(path).rpartition("#")[0]))):
        return _of_file(path)
    if (name := zoo_name(text.removeprefix("zoo:"))) and not paths.is_folder(path):
        return _of_bundle(zoo_folder(name), place=name, title=f"{name} of the zoo")
    if paths.is_file(path / bundles.METADATA):
        return _of_bundle(path, place=str(path.resolve()), title=f"the bundle {path.name}")
    if paths.is_folder(path):
        return _of_run(path)
    raise _missing(text)


def _missing(text: str) -> BundleError | RecipeError:
    fix = "name a finished run, a bundle, a net of the zoo, or a file of weights"
    try:
        kind = locate(text, "zoo").kind
    except RecipeError:
        return unknown_zoo_model(text)
    if kind in {"recipe", "module", "notation"}:
        return RecipeError(f"this {kind} has no trained weights: {in_line(text)}", where=FIELD, fix=fix)
    return BundleError("no such folder or file", where=f"{FIELD}: {in_line(text)}", fix=fix)


def _of_file(path: Path) -> Start:
    weights = read_state_dict(str(path))
    selector = str(path).rpartition("#")[2] if str(path) != str(weights.path) else ""
    place = str(weights.path.resolve()) + (f"#{selector}" if selector else "")
    return Start(
        place=place,
        title=Path(place).name,
        tensors=weights.tensors,
        sha256=weights.sha256,
        class_names=weights.class_names,
        notes=weights.notes,
    )


def _of_bundle(folder: Path, *, place: str, title: str) -> Start:
    bundle = bundles.read(folder)
    metadata, content = bundle.metadata, bundle.contents[bundles.WEIGHTS]
    try:
        reading.check_safetensors(content)
        tensors = safetensors.torch.load(content)
    except (safetensors.SafetensorError, ValueError, KeyError) as error:
        raise bundles.damaged(folder / bundles.WEIGHTS, str(error).splitlines()[0]) from error
    origin, spec = metadata.origin, metadata.spec
    return Start(
        place=place,
        title=title,
        tensors=tensors,
        sha256=reading.sha256(folder / bundles.WEIGHTS),
        net=str(getattr(spec, "net", "") or getattr(spec, "module", "")),
        class_names=metadata.labels,
        mean=metadata.preprocessing.mean,
        std=metadata.preprocessing.std,
        accuracy=metadata.measured.accuracy,
        seen=(
            SeenData(
                title=origin.data_title,
                fingerprint=origin.fingerprint,
                settings=split_settings(origin.data),
                is_known=origin.weights is None,
            ),
        ),
    )


def _of_run(path: Path) -> Start:
    folder = RunFolder.open(path)
    recipe, data = folder.recipe(), folder.read(DataRecord)
    if not folder.is_finished:
        raise RunError(
            "its training is not finished, so that its weights cannot be verified",
            where=f"{FIELD}: {path}",
            fix=f"finish it: {resume_command(path, recipe)}",
        )
    folder.verify(WEIGHTS)
    results, earlier = folder.find(Results), folder.find(StartRecord)
    own = SeenData(
        title=data.verified_title,
        fingerprint=data.fingerprint,
        splits={name: split.fingerprint for name, split in data.splits.items()},
        is_known=not recipe.is_trained_elsewhere,
    )
    return Start(
        place=str(path.resolve()),
        title=f"the run {path.resolve().name}",
        tensors=folder.read_weights(),
        sha256=reading.sha256(path / WEIGHTS),
        net=str(getattr(recipe.model, "net", "") or getattr(recipe.model, "module", "")),
        class_names=data.class_names,
        mean=data.mean,
        std=data.std,
        accuracy=results.test.correct / results.test.total if results else None,
        seen=(own, *(earlier.seen if earlier else ())),
        images=recipe.data if own.is_known else None,
    )


def with_start(session: S) -> FineTuning[S] | None:
    """Return a session whose net begins with the weights that its recipe names; None if it names none.

    Raises:
        RecipeError: A field of fine-tuning does not fit the net.
        ModuleError: The weights are those of another net, or not finite.
        ConvsmithError: As `read_start`.
    """
    text = session.recipe.train.start_from
    if text is None:
        return None
    start = read_start(text)
    normalized, normalization = _with_normalization(session, start)
    head, reason = _head(normalized, start)
    train = normalized.recipe.train.model_copy(update={"start_from": start.place})
    recipe = normalized.recipe.model_copy(update={"train": train})

    def begin(net: nn.Module) -> Transfer:
        return take_weights(
            net, start.tensors, head=head, reason=reason, where=start.place, net_of_start=start.net
        )

    net = normalized.build_net()
    transfer = begin(net)
    _check_whitening(recipe, transfer)
    notes = [*start.notes, *transfer.notes, normalization, _standardization_note(normalized, net, transfer)]
    notes += [reason] if reason and not head else []
    notes += [
        *_size_notes(normalized.data, start),
        *leak_notes(normalized, start.seen, start.images),
        *describe(train),
    ]
    record = StartRecord(
        place=start.place,
        title=start.title,
        net=start.net,
        test_accuracy=start.accuracy,
        sha256=start.sha256,
        seen=start.seen,
        counts=transfer.counts(),
        table=transfer.table(),
        notes=tuple(note for note in notes if note),
    )
    return FineTuning(session=dataclasses.replace(normalized, recipe=recipe, begin=begin), record=record)


def start_remark(model: Model, text: str) -> str:
    """Return what the net of a recipe would take from the weights of a name; its data are not read.

    Raises:
        ModuleError: The weights are those of another net, or not finite.
        ConvsmithError: As `read_start`.
    """
    assert model.architecture is not None, "a recipe has an architecture"
    start, outputs = read_start(text), model.analysis.num_outputs
    other = bool(start.class_names) and len(start.class_names) != outputs
    transfer = take_weights(
        model.net(),
        start.tensors,
        head=parts_of_net(model.architecture, model.analysis).head if other else (),
        reason=f"{len(start.class_names):,} classes there, {outputs:,} here" if other else "",
        where=start.place,
        net_of_start=start.net,
    )
    return f"begins with the weights of {start.title}: {transfer.counts()}"


def _with_normalization(session: S, start: Start) -> tuple[S, str]:
    """Return a session with the mean and deviation of a start, unless the recipe names others; and a note."""
    config, channels = session.recipe.data, session.data.image_shape[0]
    if not start.mean:
        named = config.mean is not None and config.std is not None
        how = "as named" if named else "as measured on the training images: the file does not hold those"
        return session, f"images are normalised with mean and standard deviation {how}"
    if config.mean is not None and config.std is not None:
        return session, "images are normalised with the mean and standard deviation that the recipe names"
    mean, std = (_for_channels(values, channels) for values in (start.mean, start.std))
    mean, std = config.mean or mean, config.std or std
    data = dataclasses.replace(session.data, mean=mean, std=std)
    recipe = session.recipe.model_copy(update={"data": config.model_copy(update={"mean": mean, "std": std})})
    shown = "; ".join(", ".join(f"{value:.4f}" for value in values) for values in (mean, std))
    note = f"images are normalised with the mean and standard deviation of the start ({shown})"
    return dataclasses.replace(session, recipe=recipe, data=data), note


def _for_channels(values: Sequence[float], channels: int) -> tuple[float, ...]:
    """Return numbers for each channel: grey ones for each colour, the mean of those of colour for grey."""
    if len(values) == channels:
        return tuple(values)
    return (sum(values) / len(values),) * channels


def _head(session: TrainingSession, start: Start) -> tuple[frozenset[str], str]:
    """Return the layers that keep their initial weights, and why; none if the head of the start is kept."""
    chosen = session.recipe.train.head
    parts = parts_of_net(session.architecture, session.analysis)
    names = session.data.class_names
    if chosen == "start":
        _check_head(session, start, parts.head)
        return frozenset(), ""
    reason = 'train.head is "new"' if chosen == "new" else _class_difference(start.class_names, names)
    return (frozenset(parts.head), reason) if reason else (frozenset(), "")


def _check_head(session: TrainingSession, start: Start, head: Sequence[str]) -> None:
    own = session.build_net().state_dict()
    for name in (each for each in own if each.rpartition(".")[0] in head):
        found = next((each for key, each in start.tensors.items() if f".{key}".endswith(f".{name}")), None)
        if found is not None and found.shape != own[name].shape:
            shapes = ("x".join(map(str, each.shape)) for each in (found, own[name]))
            raise RecipeError(
                "the head of the start does not fit: {} is {} there, {} here".format(name, *shapes),
                where="train.head",
                fix="leave it out, for a new head",
            )


def _class_difference(theirs: Sequence[str], own: Sequence[str]) -> str:
    """Return how classes differ; empty if they are the same in the same order.

    >>> _class_difference(["cat", "dog"], ["dog", "cat"])
    'the same classes in another order: class 0 is cat there, dog here'
    """
    if not theirs:
        return f"the file names no classes; {_KEEP}"
    if len(theirs) != len(own):
        return f"{len(theirs):,} classes there, {len(own):,} here"
    pairs = [tuple(map(canonical_name, pair)) for pair in zip(theirs, own, strict=True)]
    index = next((index for index, (their, mine) in enumerate(pairs) if their != mine), None)
    if index is None:
        return ""
    same = {their for their, _ in pairs} == {mine for _, mine in pairs}
    kind = "the same classes in another order" if same else "other classes"
    their, mine = pairs[index]
    return f"{kind}: class {index} is {in_line(their)[:40]} there, {in_line(mine)[:40]} here"


def _check_whitening(recipe: Recipe, transfer: Transfer) -> None:
    """Raise RecipeError if the first convolution is to be whitened, and is not the start's."""
    new = {each.name for each in transfer.of("new")}
    first = next((each.name for each in transfer.layers), "")
    if recipe.train.whitening and first in new:
        raise RecipeError(
            f"the first convolution, {first}, is not in the start, so that its whitening filters are missing",
            where="train.whitening",
            fix="train its filters: train.whitening=false",
        )


def _standardization_note(session: TrainingSession, net: nn.Module, transfer: Transfer) -> str:
    """Say which weights of a start weight standardization changes; none if it was trained with it."""
    train = session.recipe.train
    if not train.weight_standardization:
        return ""
    parts = parts_of_net(session.architecture, session.analysis)
    frozen = () if train.freeze_epochs else parts.frozen(train)
    names = [each.name for each in transfer.of("from the start") if each.name not in frozen]
    changed = changed_layers(net, names)
    if not changed:
        return ""
    return (
        f"warning: weight standardization changes the weights of {plural(len(changed), 'layer')} of the "
        "start, which was trained without it"
    )


def _size_notes(data: TrainingData, start: Start) -> Iterator[str]:
    if len(start.mean) not in (0, data.image_shape[0]):
        kinds = {1: "grey", 3: "colour"}
        yield f"the start was trained on {kinds.get(len(start.mean), 'other')} images"
