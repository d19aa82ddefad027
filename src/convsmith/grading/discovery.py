"""The nets in the files of a submission: which can be created, and which classify the brief's images."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from convsmith.errors import ConvsmithError
from convsmith.grading.files import SubmissionFiles
from convsmith.grading.places import without_folder
from convsmith.grading.signatures import source_of, structure_of
from convsmith.grading.uses import Use, parse, uses_in
from convsmith.modules.architecture import ImageShape, ModuleArchitecture, architecture_of
from convsmith.modules.config import ModuleConfig
from convsmith.modules.listing import ListedModule, list_modules
from convsmith.modules.reference import ModuleReference, parse_reference
from convsmith.modules.source_text import SourceText
from convsmith.net.analysis import Analysis
from convsmith.text import one_line

# A file without any of these defines no net.
_DEFINES = re.compile(r"\bclass\s+\w+\s*\(|\bSequential\s*\(")
# Nets of a submission that are looked at.
_MOST = 60


@dataclass(frozen=True, kw_only=True, eq=False)
class Candidate:
    """A net of a submission.

    Attributes:
        reference: `model.py:Net`, relative to the folder.
        parameters: None if it cannot be created.
        architecture: None if it cannot be loaded.
        analysis: For the brief's images; None if it does not run on them.
        fits: Whether it returns one output for each class.
        problem: Why it does not fit; `fix` what helps.
        structure: Of the analysis; empty without one.
        source: Of its text.
        uses: The calls that create it, outside of classes.
    """

    reference: ModuleReference
    parameters: int | None = None
    architecture: ModuleArchitecture | None = field(default=None, repr=False)
    analysis: Analysis | None = field(default=None, repr=False)
    fits: bool = False
    problem: str = ""
    fix: str = ""
    structure: str = ""
    source: str = ""
    uses: tuple[Use, ...] = field(default=(), repr=False)

    @property
    def name(self) -> str:
        return str(self.reference)


@dataclass(frozen=True, kw_only=True)
class Discovery:
    """All nets of a submission, and what of its files could not be read."""

    candidates: tuple[Candidate, ...]
    notes: tuple[str, ...] = ()

    @property
    def fitting(self) -> tuple[Candidate, ...]:
        return tuple(each for each in self.candidates if each.fits)


@dataclass(frozen=True, kw_only=True)
class _Place:
    """A submission, and the images that its nets are looked at with."""

    folder: Path
    sources: dict[str, SourceText]
    uses: Sequence[Use]
    image_shape: ImageShape
    num_classes: int

    def candidate(self, reference: ModuleReference, listed: ListedModule | None = None) -> Candidate:
        return _candidate(self, reference, listed)

    def candidates(self, file: str, notes: list[str]) -> list[Candidate]:
        """Return the nets of a file; a file that cannot be read adds a note."""
        try:
            listed = list_modules(file, self.folder)
        except ConvsmithError as error:
            notes.append(_sentence(error, self.folder))
            return []
        return [
            self.candidate(reference, each)
            for each in listed[:_MOST]
            for reference in _references(each, self.uses)
        ]


def discover(
    folder: Path,
    files: SubmissionFiles,
    image_shape: ImageShape,
    num_classes: int,
    hints: Sequence[str] = (),
) -> Discovery:
    """Find the nets of a submission.

    Args:
        folder: Its folder.
        files: Its files.
        image_shape: `(C, H, W)`.
        num_classes: Outputs of a net that fits.
        hints: References of the teacher: only these are looked at.

    Raises:
        ModuleError: A hint names no net.
    """
    sources = {name: source for name in files.code if (source := parse(folder, name)) is not None}
    uses = [use for name, source in sources.items() for use in uses_in(source, name)]
    place = _Place(
        folder=folder, sources=sources, uses=uses, image_shape=image_shape, num_classes=num_classes
    )
    if hints:
        references = [parse_reference(hint) for hint in hints]
        return Discovery(candidates=tuple(map(place.candidate, references)))
    notes = [f"{name} cannot be read: it is no Python" for name in files.code if name not in sources]
    candidates: list[Candidate] = []
    defining = [name for name, source in sources.items() if _DEFINES.search(source.text)]
    for name in defining:
        candidates += place.candidates(name, notes)
    # A net whose arguments only a notebook or a script computes: `model = Net(schema, channels)`.
    needed = {each.reference.name for each in candidates if each.architecture is None}
    for name in sources:
        created = {use.name for use in uses if use.file == name and not use.is_literal and use.origin}
        if name not in defining and created & needed:
            candidates += place.candidates(name, notes)
    if len(candidates) > _MOST:
        notes.append(f"more than {_MOST} nets: the rest was not looked at")
    return Discovery(candidates=tuple(candidates[:_MOST]), notes=tuple(notes))


def _references(listed: ListedModule, uses: Sequence[Use]) -> Iterator[ModuleReference]:
    """Yield a net as it is listed, and with the arguments with which the submission creates it."""
    reference = listed.reference
    calls: dict[str, Use] = {}
    for use in uses:
        if use.creates(reference.place, reference.name) and use.is_literal and use.call:
            calls.setdefault(use.call, use)
    if listed.parameters is not None or not calls:
        yield reference
    for use in list(calls.values())[:8]:
        yield ModuleReference(
            place=reference.place,
            name=reference.name,
            occurrence=reference.occurrence,
            args=use.args,
            kwargs=use.kwargs,
        )


def _candidate(place: "_Place", reference: ModuleReference, listed: ListedModule | None = None) -> Candidate:
    source = place.sources.get(reference.place)
    mine = tuple(
        use
        for use in place.uses
        if use.creates(reference.place, reference.name)
        and (not use.is_literal or (use.args, use.kwargs) == (reference.args, dict(reference.kwargs)))
    )
    text = source_of(source, reference.name, reference.occurrence) if source else ""
    base = Candidate(reference=reference, uses=mine, source=text)
    if listed is not None and listed.parameters is None and not (reference.args or reference.kwargs):
        arguments = f"({listed.arguments})" if listed.arguments else ""
        problem = f"{listed.problem}: {reference.name}{arguments}" if arguments else listed.problem
        fix = f"name it with its arguments in a CSV: {reference}({listed.arguments})" if arguments else ""
        return _with(base, problem=one_line(problem), fix=fix)
    try:
        architecture = architecture_of(ModuleConfig(module=str(reference)), root=place.folder)
        assert isinstance(architecture, ModuleArchitecture), "of a module"
        base = _with(base, architecture=architecture)
        if listed is not None:
            base = _with(base, parameters=listed.parameters)
        with architecture.loaded.limited("the forward pass"):
            analysis = architecture.analyze(place.image_shape)
        base = _with(
            base, analysis=analysis, parameters=analysis.parameters, structure=structure_of(analysis)
        )
        architecture.check(place.image_shape, place.num_classes)
    except ConvsmithError as error:
        fix = one_line(error.problems[0].fix)
        return _with(base, problem=_sentence(error, place.folder), fix=fix)
    return _with(base, fits=True)


def _with(candidate: Candidate, **changes: object) -> Candidate:
    return replace(candidate, **changes)  # type: ignore[arg-type]


def _sentence(error: ConvsmithError, folder: Path) -> str:
    """Return an error in one sentence, without the place of the submission's private copy."""
    problem = error.problems[0]
    text = f"{problem.where}: {problem.what}" if problem.where else problem.what
    return one_line(without_folder(text, folder))
