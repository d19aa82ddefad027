"""Pixels at the net's size in temporary files, until all images are decoded and their form is known.

Whether a data set is grey, and the background of its transparent images, follow from all of its images. Until
then a grey image is stored grey, with the digests of both forms, and a transparent image over each background
that may be chosen. The border of the policy "pad" is added at the end.

Where processes share out the images, each writes the pixels of its part into files of their own, which the
process that collects the outcomes reads.
"""

import hashlib
import os
import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convsmith.data.cache.contents import decoded_earlier
from convsmith.data.cache.decoded_files import NO_DIGEST, DecodedFiles, Earlier, Form, ImageColumns
from convsmith.data.cache.facts import ImageFacts, facts_of
from convsmith.data.cache.scan import Visitor
from convsmith.data.config import DataConfig
from convsmith.data.images.background import CANDIDATES, BackgroundChoice, in_channels, named_colour
from convsmith.data.images.decode import DecodedImage, Encoded, UnusableImageError, decode_image
from convsmith.data.images.input_rule import Colour, Frame, InputRule, Pixels, flatten, shrink
from convsmith.data.raw import RawData
from convsmith.errors import DataError
from convsmith.system.positional import OpenFile, open_file, read_at, write_at
from convsmith.system.stamps import stamp_of

# The end of the names of files of pixels, and how many are open at once.
PIXELS, _MOST_OPEN = ".pixels", 128


@dataclass(frozen=True, kw_only=True, slots=True)
class Spooled:
    """The digests of an image in each form that it may be stored in, and where its pixels are.

    Attributes:
        earlier: The split and the position in the earlier content; None for the spool itself.
    """

    digests: tuple[tuple[Form, bytes], ...] = ()
    earlier: tuple[str, int] | None = None


def pixel_digest(content: bytes | NDArray[np.uint8], shape: Sequence[int], label: int) -> bytes:
    """Return the SHA-256 of the pixels of an image `(H, W, C)` before it is resized, and its label.

    The cache is sorted by it.
    """
    digest = hashlib.sha256(f"{label} {tuple(shape)} ".encode())
    digest.update(content if isinstance(content, bytes) else content.reshape(-1).data)
    return digest.digest()


def is_grey(colour: Colour) -> bool:
    """Return whether the channels of a colour are equal, so that grey images over it are grey."""
    return len(set(colour)) == 1


class PixelFiles:
    """Files of pixels, each with the images of one form of a part of a split, at places of equal size.

    Args:
        folder: Of the files.
        starts: Of each split the first image of each part, from 0.
    """

    def __init__(self, folder: Path, starts: Mapping[str, Sequence[int]]) -> None:
        self.folder, self.starts = folder, starts
        self._lock = threading.Lock()
        # The least recently used first.
        self._open: OrderedDict[str, OpenFile] = OrderedDict()

    def write(self, split: str, index: int, form: Form, content: bytes, stride: int) -> None:
        """Write the pixels of an image; `stride` is the number of bytes between two images."""
        file, start = self._file(split, index, form)
        write_at(file.number, content, (index - start) * stride)

    def read(self, split: str, index: int, form: Form, size: int, stride: int) -> bytes:
        """Return the first bytes of an image."""
        file, start = self._file(split, index, form)
        return read_at(file.number, size, (index - start) * stride)

    def close(self) -> None:
        self._open.clear()

    def _file(self, split: str, index: int, form: Form) -> tuple[OpenFile, int]:
        starts = self.starts[split]
        start = starts[bisect_right(starts, index) - 1]
        colour, channels = form
        name = f"{split}-{start:010}-{channels}-{bytes(colour).hex() if colour else 'opaque'}{PIXELS}"
        with self._lock:
            if name not in self._open:
                self._open[name] = OpenFile(open_file(self.folder / name, os.O_RDWR | os.O_CREAT))
            self._open.move_to_end(name)
            # A thread that still uses the file keeps it open.
            if len(self._open) > _MOST_OPEN:
                self._open.popitem(last=False)
            return self._open[name], start


class Spool(Visitor[Spooled]):
    """Collects the images of a data set.

    Args:
        pixels: Temporary files.
        raw: From `read_source`.
        config: The `[data]` table of a recipe.
        earlier: What an earlier decoding of the same location left.
        check_space: Called with the bytes that the data set will take, once its size is known, and again if
            it turns out to be in colour.
    """

    def __init__(
        self,
        pixels: PixelFiles,
        raw: RawData,
        config: DataConfig,
        earlier: DecodedFiles | None,
        check_space: Callable[[int], None],
    ) -> None:
        self.pixels, self.raw, self.config, self.earlier = pixels, raw, config, earlier
        self.frame: Frame | None = None
        self.colour_seen = False
        named = config.background
        self.backgrounds = [named_colour(named, 3)] if named else list(CANDIDATES.values())
        self._check_space = check_space
        self._lock = threading.Lock()

    @cached_property
    def columns(self) -> dict[str, ImageColumns]:
        """What is known of the images that were collected, by split."""
        return {name: ImageColumns(len(split.labels)) for name, split in self.raw.splits.items()}

    def close(self) -> None:
        """Close the temporary files."""
        self.pixels.close()

    def known(self, split: str, index: int, encoded: Encoded) -> tuple[ImageFacts, Spooled] | None:
        if self.earlier is None or not isinstance(encoded, str):
            return None
        row = self.earlier.find(encoded, self.raw.splits[split].labels[index])
        if row is None:
            return None
        facts, digests = self.earlier.facts(row), self.earlier.digests(row)
        try:
            stamp = stamp_of(os.stat(encoded))  # noqa: PTH116 - called for every file
        except OSError:
            return None
        colour = None if facts.background.contrast is None else self.earlier.background
        if stamp != facts.stamp or not (colour is None or colour in self.backgrounds):
            return None
        if self._frame_for(facts.size, grey=facts.is_grey) is None:
            return None
        forms = tuple(((colour, channels), digest) for channels, digest in digests.items())
        return facts, Spooled(digests=forms, earlier=self.earlier.place(row))

    def examine(self, split: str, index: int, decoded: DecodedImage) -> Spooled:
        frame = self._frame_for(decoded.image.size, grey=decoded.is_grey)
        if frame is None:
            return Spooled()
        label = self.raw.splits[split].labels[index]
        digests: list[tuple[Form, bytes]] = []
        # All of a data set is in colour as soon as one image is.
        needed = (1, 3) if decoded.is_grey and not self.colour_seen else (3,)
        for colour in [None] if decoded.alpha is None else self.backgrounds:
            stored = (1,) if decoded.is_grey and (colour is None or is_grey(colour)) else needed
            for channels in sorted({*needed, *stored}):
                image = flatten(decoded, in_channels(colour or (0, 0, 0), channels))
                if channels in needed:
                    pixels = decoded.pixels if image is decoded.image else image.tobytes()
                    shape = (image.height, image.width, channels)
                    digests.append(((colour, channels), pixel_digest(pixels, shape, label)))
                if channels in stored:
                    stride = frame.height * frame.width * channels
                    content = shrink(image, frame).tobytes()
                    self.pixels.write(split, index, (colour, channels), content, stride)
        return Spooled(digests=tuple(digests))

    def collect(self, split: str, index: int, facts: ImageFacts, examined: Spooled) -> None:
        # Another process may have examined it.
        self._frame_for(facts.size, grey=facts.is_grey)
        self.columns[split].set(index, facts, dict(examined.digests), examined.earlier)

    def after_training_images(self, background: BackgroundChoice) -> None:
        if not self.config.background:
            self.backgrounds = [background.colour(3)]

    def complete(self, rule: InputRule) -> None:
        """Decode images again whose earlier decoding had another background, or other channels only."""
        form = (self.backgrounds[0], rule.channels)
        incomplete = ((name, index) for name in self.columns for index in self.columns[name].incomplete(form))
        for split, index in incomplete:
            columns = self.columns[split]
            try:
                (path,) = self.raw.splits[split].part(index, index + 1)
                assert isinstance(path, str)
                decoded = decode_image(path)
            except UnusableImageError as error:
                where = self.raw.splits[split].locations[index]
                raise DataError(f"the file changed while it was read: {error.reason}", where=where) from error
            facts = facts_of(decoded)
            columns.set(index, facts, dict(self.examine(split, index, decoded).digests), None)

    def record(self, rule: InputRule, positions: Mapping[str, NDArray[np.int64]]) -> dict[str, NDArray[Any]]:
        """Return what a later decoding of changed files can use, for `DecodedFiles`.

        Args:
            rule: Of the data set.
            positions: Of each image in the stored split; -1 for images that are not stored.
        """
        parts = [
            self.columns[name].record(split, positions[name], (self.backgrounds[0], rule.channels), name)
            for name, split in self.raw.splits.items()
        ]
        return {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}

    def digests(self, split: str, indices: NDArray[np.int64], rule: InputRule) -> NDArray[np.uint8]:
        """Return the digests of images in the form that is stored, `(N, 32)`."""
        return self.columns[split].digests((self.backgrounds[0], rule.channels), indices)

    def images(self, split: str, indices: NDArray[np.int64], rule: InputRule) -> Iterator[Pixels]:
        """Yield the pixels `(H, W, C)` of images as they are stored."""
        for index in indices:
            yield _in_frame(self._inner(split, int(index), rule), rule)

    def remote(self) -> "RemoteSpool":
        earlier = self.earlier.origin if self.earlier else None
        return RemoteSpool(config=self.config, backgrounds=tuple(self.backgrounds), earlier=earlier)

    def pack(self, examined: Sequence[Spooled]) -> dict[str, NDArray[Any]]:
        arrays: dict[str, NDArray[Any]] = {}
        for number, each in enumerate(examined):
            for (colour, channels), digest in each.digests:
                name = f"digest {channels} {bytes(colour).hex() if colour else ''}"
                if name not in arrays:
                    arrays[name] = np.zeros((len(examined), 32), np.uint8)
                arrays[name][number] = np.frombuffer(digest, np.uint8)
        places = [each.earlier or ("", -1) for each in examined]
        arrays["earlier split"] = np.array([split.encode() for split, _ in places], "S16")
        arrays["earlier"] = np.array([position for _, position in places], np.int64)
        return arrays

    def unpack(self, arrays: Mapping[str, NDArray[Any]]) -> Iterable[Spooled]:
        forms: list[tuple[Form, list[bytes]]] = []
        for name in (each for each in arrays if each.startswith("digest ")):
            _, channels, colour = name.split(" ")
            form = (tuple(bytes.fromhex(colour)) or None, int(channels))
            content = arrays[name].tobytes()
            forms.append((form, [content[at : at + 32] for at in range(0, len(content), 32)]))
        splits, positions = arrays["earlier split"].tolist(), arrays["earlier"].tolist()
        for number, (split, position) in enumerate(zip(splits, positions, strict=True)):
            digests = ((form, each[number]) for form, each in forms)
            yield Spooled(
                digests=tuple((form, digest) for form, digest in digests if digest != NO_DIGEST),
                earlier=None if position < 0 else (split.decode(), position),
            )

    def _inner(self, split: str, index: int, rule: InputRule) -> Pixels:
        """Return an image without the border of "pad", in the channels of the rule."""
        columns, colour = self.columns[split], None
        width, height = rule.inner_size(columns.size_of(index))
        if columns.is_transparent(index):
            colour = self.backgrounds[0]
        if (place := columns.earlier_of(index)) is not None:
            assert self.earlier is not None
            left, top = rule.place((width, height))
            pixels = self.earlier.pixels(*place)[top : top + height, left : left + width]
        else:
            grey = columns.is_grey(index) and (colour is None or is_grey(colour) or rule.channels == 1)
            channels = 1 if grey else 3
            size, stride = height * width * channels, rule.height * rule.width * channels
            content = self.pixels.read(split, index, (colour, channels), size, stride)
            pixels = np.frombuffer(content, np.uint8).reshape(height, width, channels)
        if pixels.shape[2] > rule.channels:
            return pixels[..., :1]
        return np.broadcast_to(pixels, (height, width, rule.channels))

    def _frame_for(self, size: tuple[int, int], *, grey: bool) -> Frame | None:
        """Return the frame that an image is stored in; None if it has another size than the first one.

        Images of mixed sizes are an error, unless the recipe resizes them: nothing of them is stored then.
        """
        with self._lock:
            if self.frame is None:
                height, width = self.config.size or size[::-1]
                self.frame = Frame(height=height, width=width, resize_policy=self.config.policy)
                self._check_space(self._bytes_needed(1 if grey else 3))
            if not grey and not self.colour_seen:
                self.colour_seen = True
                self._check_space(self._bytes_needed(3))
            if self.config.size is None and size != (self.frame.width, self.frame.height):
                return None
            return self.frame

    def _bytes_needed(self, channels: int) -> int:
        """Return the disk space that sorting the images needs: twice their size."""
        assert self.frame is not None
        count = sum(len(split.labels) for split in self.raw.splits.values())
        return 2 * channels * self.frame.width * self.frame.height * count


@dataclass(frozen=True, kw_only=True)
class RemoteSpool:
    """Makes a spool in another process.

    Attributes:
        config: The `[data]` table of a recipe.
        backgrounds: What transparent images are composited over.
        earlier: The earlier decoding whose images are used again.
    """

    config: DataConfig
    backgrounds: tuple[Colour, ...]
    earlier: Earlier | None

    @contextmanager
    def open(self, raw: RawData, split: str, start: int, folder: Path) -> Iterator[Spool]:
        """Return a spool that writes the pixels of a part to `folder`."""
        earlier = decoded_earlier(self.earlier, self.config) if self.earlier else None
        spool = Spool(PixelFiles(folder, {split: [start]}), raw, self.config, earlier, lambda _: None)
        spool.backgrounds = list(self.backgrounds)
        try:
            yield spool
        finally:
            spool.close()


def _in_frame(inner: Pixels, rule: InputRule) -> Pixels:
    height, width = inner.shape[:2]
    if (height, width) == (rule.height, rule.width):
        return inner
    padded = np.empty((rule.height, rule.width, rule.channels), np.uint8)
    padded[...] = rule.background
    left, top = rule.place((width, height))
    padded[top : top + height, left : left + width] = inner
    return padded
