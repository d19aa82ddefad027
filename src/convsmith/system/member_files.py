"""Files in archives that can be read at any place: parts of the archive, or temporary copies."""

import io
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import IO

from convsmith.system import files
from convsmith.system.archives import Archive, ArchiveError
from convsmith.system.folders import cache_folder, check_destination
from convsmith.system.positional import OpenFile, open_file

# Copies of up to this size are in memory, as long as all of these fit; all copies take at most so much.
_SMALL, _MAX_MEMORY, _MAX_COPIED = 2**24, 2**28, 2**34
_BLOCK = 2**20


class MemberFiles:
    """Opens files of an archive with positions of their own.

    A file that is not compressed is read from the archive; from a zip archive once its checksum is right.
    Another one is copied when it is opened first: into memory if it is small, otherwise into a temporary file
    in the cache folder, which has no name and is gone with this object, even if the process is killed.

    Args:
        archive: A list of members that is checked.
    """

    def __init__(self, archive: Archive) -> None:
        self.archive = archive
        self._source: OpenFile | None = None
        self._places: dict[PurePosixPath, tuple[int, int]] = {}
        self._copies: dict[PurePosixPath, bytes | OpenFile] = {}
        self._errors: dict[PurePosixPath, ArchiveError] = {}
        self._copied = self._memory = 0

    def open(self, path: PurePosixPath) -> IO[bytes]:
        """Return a file that is read at any place.

        Raises:
            ArchiveError: It is damaged, or too large for a copy.
            FileError: The archive cannot be read, or the copy cannot be written.
        """
        self.prepare([path])
        if path in self._errors:
            raise self._errors[path]
        if path in self._places:
            if self._source is None:
                self._source = OpenFile(open_file(self.archive.path, os.O_RDONLY))
            return self._source.section(*self._places[path])
        copy = self._copies[path]
        if isinstance(copy, bytes):
            return io.BytesIO(copy)
        return copy.section(0, self.archive.members[path].size)

    def prepare(self, paths: Sequence[PurePosixPath]) -> None:
        """Copy files in the order of the archive, so that a compressed tar archive is read once.

        A damaged file is an error when it is opened.

        Raises:
            ArchiveError: The copies would be too large.
            FileError: They cannot be written.
        """
        known = self._places.keys() | self._copies.keys() | self._errors.keys()
        rest = sorted(set(paths) - known, key=lambda path: self.archive.members[path].offset)
        if not rest:
            return
        self._check_size(rest)
        for path, stream in zip(rest, self.archive.streams(rest), strict=True):
            try:
                if (place := self.archive.place(path)) is None:
                    self._copies[path] = self._copy(path, stream)
                    continue
                # To the end, where the checksum of a zip archive is compared.
                while self.archive.is_zip and stream.read(_BLOCK):
                    pass
                self._places[path] = place
            except ArchiveError as error:
                # Without the frames that the error holds.
                self._errors[path] = ArchiveError(str(error))

    def _copy(self, path: PurePosixPath, stream: IO[bytes]) -> bytes | OpenFile:
        size = self.archive.members[path].size
        if size <= min(_SMALL, _MAX_MEMORY - self._memory):
            self._memory += size
            return stream.read()
        try:
            with tempfile.TemporaryFile(dir=cache_folder()) as file:
                shutil.copyfileobj(stream, file, _BLOCK)
                file.flush()
                # The file has no name, and is gone when its last number is closed.
                return OpenFile(os.dup(file.fileno()))
        except OSError as error:
            raise files.write_error(cache_folder(), error) from error

    def _check_size(self, paths: Sequence[PurePosixPath]) -> None:
        """Raise an error if the copies do not fit, before any is written."""
        sizes = [
            self.archive.members[path].size for path in paths if not self.archive.members[path].is_stored
        ]
        self._copied += sum(sizes)
        if self._copied > _MAX_COPIED:
            raise ArchiveError(
                f"{self._copied:,} bytes would have to be copied, expected at most {_MAX_COPIED:,}: unpack it"
            )
        if sum(sizes) > _SMALL:
            files.make_folder(cache_folder())
            check_destination(cache_folder(), sum(sizes))
