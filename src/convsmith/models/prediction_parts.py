"""The parts that predictions for many images are made in, each a task for a worker and a file of a folder.

The images are listed once, in a file that all workers read, so that neither the main process nor a task holds
the names of all images.
"""

import hashlib
import json
import os
import socket
from collections.abc import Iterable, Iterator
from dataclasses import astuple, dataclass
from functools import lru_cache
from pathlib import Path

from convsmith.errors import BundleError, ConvsmithError, FileError, ProcessError, StoppedError
from convsmith.models.classifier import Classifier
from convsmith.models.image_blocks import ImageBlock, ImageSource
from convsmith.models.model import TrainedModel
from convsmith.models.prediction_rows import TableFormat, read_counts, table_file
from convsmith.models.resolve import resolve_trained
from convsmith.modules.access import CodeAccess
from convsmith.system import files, progress
from convsmith.system.signals import stop_on_signals

# The list of images while predictions are made; hidden, as it is removed at the end.
LISTING = ".images.jsonl"
# Of a file in the list: size in bytes, and the time of its last change in nanoseconds.
Stamp = tuple[int, int]
_GONE: Stamp = (-1, -1)


@dataclass(frozen=True, kw_only=True)
class ModelReference:
    """A trained model that a worker opens.

    Attributes:
        target: A model of the zoo, or the absolute path of a run or a bundle.
        sha256: Of everything that predictions depend on.
        device: As for `TrainedModel.classifier`.
        trust_code: Whether the code of a module may be run.
    """

    target: str
    sha256: str
    device: str | None
    trust_code: bool

    @classmethod
    def of(cls, model: TrainedModel, device: str | None, *, trust_code: bool) -> "ModelReference":
        """Return the reference to a model.

        Raises:
            RunError: It is a run that was not evaluated.
        """
        target = f"zoo:{model.place}" if model.kind == "zoo" else str(Path(model.place).absolute())
        return cls(target=target, sha256=prediction_digest(model), device=device, trust_code=trust_code)


@dataclass(frozen=True, kw_only=True)
class PartSettings:
    """What all parts have in common.

    Attributes:
        folder: Of the predictions, absolute.
        images_folder: The folder that locations of images are relative to.
        on_workers: Whether parts may run on other machines, so that errors name them.
    """

    model: ModelReference
    folder: str
    images_folder: str
    table_format: TableFormat
    top_k: int
    batch_size: int
    on_workers: bool


@dataclass(frozen=True, kw_only=True)
class Part:
    """Successive images whose predictions are one file.

    Attributes:
        number: From 0.
        offset: Of its first line in the list of images, in bytes.
        count: The number of images.
    """

    settings: PartSettings
    number: int
    offset: int
    count: int

    @property
    def path(self) -> Path:
        """The file of the predictions; it is complete if it exists."""
        return Path(self.settings.folder) / f"part-{self.number:05}.{self.settings.table_format}"

    @property
    def is_done(self) -> bool:
        """Whether the file has a row for each image."""
        counts = read_counts(self.path)
        return counts is not None and counts.images == self.count


@dataclass(frozen=True, kw_only=True)
class Listing:
    """The list of all images.

    Attributes:
        sha256: Of its lines: names, sizes and times of change.
        part_size: Images in each part but the last.
        places: Of each part, the offset of its first line and the number of images.
    """

    sha256: str
    part_size: int
    places: tuple[tuple[int, int], ...]

    @property
    def count(self) -> int:
        """The number of images."""
        return sum(count for _, count in self.places)

    def parts(self, settings: PartSettings) -> list[Part]:
        """Return the parts in the order of the images."""
        return [
            Part(settings=settings, number=number, offset=offset, count=count)
            for number, (offset, count) in enumerate(self.places)
        ]


def write_listing(folder: Path, blocks: Iterable[ImageBlock], part_size: int) -> Listing:
    """Write the list of images into a folder, for parts of `part_size` images and a smaller last one.

    Raises:
        FileError: The folder is not writable.
    """
    digest, offset, places = hashlib.sha256(), 0, list[tuple[int, int]]()
    with files.atomic_text(folder / LISTING) as append:
        for part in in_parts(_with_digest(blocks, digest), part_size):
            lines = "".join(map(_line, part))
            append(lines)
            places.append((offset, sum(map(len, part))))
            offset += len(lines)
            progress.report("Listing images", len(places) * part_size, 0)
    return Listing(sha256=digest.hexdigest(), part_size=part_size, places=tuple(places))


def _with_digest(blocks: Iterable[ImageBlock], digest: "hashlib._Hash") -> Iterator[ImageBlock]:
    """Yield blocks as they are, before they are divided: the digest does not depend on the size of parts."""
    for block in blocks:
        digest.update(_line(block).encode())
        yield block


def _line(block: ImageBlock) -> str:
    return f"{json.dumps([*astuple(block), *_stamp(block)])}\n"


def in_parts(blocks: Iterable[ImageBlock], size: int) -> Iterator[list[ImageBlock]]:
    """Divide blocks into lists of `size` images, the last one smaller.

    >>> [[len(block) for block in part] for part in in_parts([ImageBlock("x.zip", 0, 7), ImageBlock("a")], 3)]
    [[3], [3], [1, 1]]
    """
    part, left = list[ImageBlock](), size
    for block in blocks:
        start = 0
        while start < len(block):
            stop = min(start + left, len(block))
            part.append(block.part(start, stop))
            left -= stop - start
            start = stop
            if not left:
                yield part
                part, left = [], size
    if part:
        yield part


def predict_part(part: Part) -> int:
    """Classify the images of a part, write its file, and return the number of images.

    Raises:
        ProcessError: The worker has another model or other images than the main process.
        FileError: The file cannot be written.
        StoppedError: A signal; the file is not written.
    """
    settings = part.settings
    with stop_on_signals() as stop, progress.silent():
        classifier = _classifier(settings.model, on_workers=settings.on_workers)
        results = []
        for result in classifier.classify(
            _sources(part), top_k=settings.top_k, batch_size=settings.batch_size
        ):
            if stop.signal:
                raise StoppedError(stop.signal, f"in part {part.number}")
            results.append(result)
        files.write_bytes(part.path, table_file(results, settings.table_format))
    return len(results)


@lru_cache(maxsize=1)
def _classifier(reference: ModelReference, *, on_workers: bool) -> Classifier:
    """Return the classifier of this process; parts that follow use it again."""
    try:
        model = resolve_trained(reference.target, access=CodeAccess(trust=reference.trust_code))
        digest = prediction_digest(model)
    except ConvsmithError as error:
        if not on_workers:
            raise
        raise _other_model(reference, error.problems[0].what) from error
    if digest != reference.sha256:
        if on_workers:
            raise _other_model(reference, "another model is there")
        raise BundleError(
            "the model has changed", where=reference.target, fix="start again, with another folder for --out"
        )
    return model.classifier(reference.device)


def prediction_digest(model: TrainedModel) -> str:
    """Return the SHA-256 of what predictions depend on: net, weights, preprocessing, confidence."""
    values = [
        model.digest(),
        model.labels,
        model.preprocessing.model_dump(mode="json"),
        model.confidence.model_dump(mode="json"),
    ]
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def _other_model(reference: ModelReference, what: str) -> ProcessError:
    return ProcessError(
        f"the worker on {socket.gethostname()} cannot use the model {reference.target}: {what}",
        where="--on",
        fix="name a model of the zoo, or put it into a folder that all workers have under the same path",
    )


def _sources(part: Part) -> Iterator[ImageSource]:
    """Yield the images of a part, after a look whether their files are those of the list."""
    folder = Path(part.settings.images_folder)
    with (Path(part.settings.folder) / LISTING).open("rb") as file:
        file.seek(part.offset)
        left = part.count
        while left > 0:
            *fields, size, modified = json.loads(file.readline())
            block = ImageBlock(*fields)
            if _stamp(block, folder) != (size, modified):
                raise _other_file(folder / block.location, part.settings)
            yield from block.sources(folder)
            left -= len(block)


def _stamp(block: ImageBlock, folder: Path | None = None) -> Stamp:
    """Return what identifies the content of a file; a URL has nothing."""
    if not block.is_file:
        return _GONE
    try:
        status = os.stat(folder / block.location if folder else block.location)  # noqa: PTH116 - of each image
    except OSError:
        return _GONE
    return status.st_size, status.st_mtime_ns


def _other_file(path: Path, settings: PartSettings) -> ConvsmithError:
    if settings.on_workers:
        return ProcessError(
            f"the worker on {socket.gethostname()} does not see the file as it was listed",
            where=str(path),
            fix="name images in a folder that all workers have under the same path, and leave them unchanged",
        )
    return FileError(
        "the file has changed since it was listed",
        where=str(path),
        fix="leave the images as they are, and start again with another folder for --out",
    )
