"""Where a search is kept: its folder, and the Optuna study with its trials."""

import secrets
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from convsmith.errors import RunError
from convsmith.nas.address import JOURNAL, StorageAddress
from convsmith.system import paths

# The name of the study in a journal, which has no other.
_IN_JOURNAL = "convsmith"
# Of the folder with a folder for each trial.
TRIALS = "trials"


class _Record(BaseModel):
    """The storage of a study in its `study.json`."""

    url: str
    study: str
    token: str


@dataclass(frozen=True, kw_only=True)
class StudyPlace:
    """Where a search is kept.

    Attributes:
        folder: With the checkpoints of its trials.
        storage: Of its trials; None for a journal in the folder.
        name: Of the study in the storage: that of the folder when the search began.
        token: Written into folder and storage, so that another folder of that name is refused.
    """

    folder: Path
    storage: StorageAddress | None
    name: str
    token: str

    @classmethod
    def create(cls, folder: Path, storage: StorageAddress | None) -> "StudyPlace":
        """Return the place of a new search."""
        name = _IN_JOURNAL if storage is None else folder.resolve().name
        return cls(folder=folder, storage=storage, name=name, token=secrets.token_hex(8))

    @classmethod
    def load(
        cls, folder: Path, storage: StorageAddress | None, record: Mapping[str, Any] | None, where: Path
    ) -> "StudyPlace":
        """Return the place of an existing search.

        Args:
            folder: Of the study.
            storage: That the user names.
            record: From `record`; None for a journal.
            where: The file of the record.

        Raises:
            RunError: The trials are in another storage, or the record is damaged.
        """
        if record is None:
            if storage is not None:
                raise RunError(
                    f"the trials of this study are in its {JOURNAL}, not in {storage}",
                    where=str(folder),
                    fix="leave out --storage, or start another study with --study",
                )
            return cls.create(folder, None)
        try:
            entry = _Record.model_validate(record)
        except ValidationError as error:
            raise RunError(f"damaged: {error.errors()[0]['msg']}", where=str(where)) from error
        if storage is None or storage.name != entry.url:
            password = " (with its password)" if "***" in entry.url else ""
            raise RunError(
                f"the trials of this study are in {entry.url}",
                where=str(folder),
                fix=f"add --storage {entry.url}{password}, or correct {where.name} if it has moved",
            )
        return cls(folder=folder, storage=storage, name=entry.study, token=entry.token)

    def record(self) -> dict[str, Any] | None:
        """Return a plain table without the password; None for a journal."""
        if self.storage is None:
            return None
        return _Record(url=self.storage.name, study=self.name, token=self.token).model_dump()

    @property
    def where(self) -> str:
        """The file or the URL of the trials."""
        return str(self.storage or self.folder / JOURNAL)

    @property
    def description(self) -> str:
        """The folder, for the users of other machines."""
        return f"{self.folder.resolve()} on {socket.gethostname()}"

    def trial_numbers(self) -> set[int]:
        """Return the numbers of the trials that have a folder."""
        folder = self.folder / TRIALS
        if not paths.is_folder(folder):
            return set()
        return {int(each.name) for each in folder.iterdir() if each.name.isascii() and each.name.isdecimal()}

    @property
    def has_trials(self) -> bool:
        return bool(self.trial_numbers())
