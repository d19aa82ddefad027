"""Pixels at the net's size in temporary files, until all images are decoded and their form is known.

Whether a data set is grey, and the background of its transparent images, follow from all of its images. Until
then a grey image is stored grey, with the digests of both forms, and a transparent image over each background
that may be chosen. The border of the policy "pad" is added at the end.
"""

import hashlib
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from convsmith.data.cache.decoded_files import DecodedFiles, Form, ImageColumns
from convsmith.data.cache.scan import ImageFacts, Visitor, facts_of
from convsmith.data.config import DataConfig
from convsmith.data.images.background import CANDIDATES, BackgroundChoice, in_channels, named_colour
from convsmith.data.images.decode import DecodedImage, Encoded, UnusableImageError, decode_image
from convsmith.data.images.input_rule import Colour, Frame, InputRule, Pixels, flatten, shrink
from convsmith.data.raw import RawData
from convsmith.errors import DataError
from convsmith.system.positional import open_file, read_at, write_at
from convsmith.system.stamps import stamp_of


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


class Spool(Visitor[Spooled]):
    """Collects the images of a data set.

    Args:
        folder: For the temporary files.
        raw: From `read_source`.
        config: The `[data]` table of a recipe.
        earlier: What an earlier decoding of the same location left.
        check_space: Called with the bytes that the data set will take, once its size is known, and again if
            it turns out to be in colour.
    """

    def __init__(
        self,
        folder: Path,
        raw: RawData,
        config: DataConfig,
        earlier: DecodedFiles | None,
        check_space: Callable[[int], None],
    ) -> None:
        self.folder, self.raw, self.config, self.earlier = folder, raw, config, earlier
        self.frame: Frame | None = None
        self.colour_seen = False
        named = config.background
        self.backgrounds = [named_colour(named, 3)] if named else list(CANDIDATES.values())
        self.columns = {name: ImageColumns(len(split.labels)) for name, split in raw.splits.items()}
        self._check_space = check_space
        self._lock = threading.Lock()
        self._files: dict[str, int] = {}
        # Of images that were decoded earlier, perhaps not in the form that is needed.
        self._paths: dict[tuple[str, int], str] = {}

    def close(self) -> None:
        """Close the temporary files."""
        for file in self._files.values():
            os.close(file)
        self._files = {}

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
        if colour is not None or (facts.is_grey and 1 not in digests):
            self._paths[split, index] = encoded
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
                    content = decoded.pixels if image is decoded.image else image.tobytes()
                    shape = (image.height, image.width, channels)
                    digests.append(((colour, channels), pixel_digest(content, shape, label)))
                if channels in stored:
                    self._write(split, index, colour, shrink(image, frame))
        return Spooled(digests=tuple(digests))

    def collect(self, split: str, index: int, facts: ImageFacts, examined: Spooled) -> None:
        self.columns[split].set(index, facts, dict(examined.digests), examined.earlier)

    def after_training_images(self, background: BackgroundChoice) -> None:
        if not self.config.background:
            self.backgrounds = [background.colour(3)]

    def complete(self, rule: InputRule) -> None:
        """Decode images again whose earlier decoding had another background, or other channels only."""
        form = (self.backgrounds[0], rule.channels)
        for (split, index), path in sorted(self._paths.items()):
            columns = self.columns[split]
            if columns.has(form, index):
                continue
            try:
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

    def digests(self, split: str, indices: Sequence[int], rule: InputRule) -> list[bytes]:
        """Return the digests of images in the form that is stored."""
        form = (self.backgrounds[0], rule.channels)
        return [self.columns[split].digest(form, index) for index in indices]

    def images(self, split: str, indices: Sequence[int], rule: InputRule) -> Iterator[Pixels]:
        """Yield the pixels `(H, W, C)` of images as they are stored."""
        for index in indices:
            yield _in_frame(self._inner(split, int(index), rule), rule)

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
            size = height * width * channels
            file = self._files[_name(split, colour, channels)]
            content = read_at(file, size, index * rule.height * rule.width * channels)
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

    def _write(self, split: str, index: int, colour: Colour | None, image: Image.Image) -> None:
        assert self.frame is not None
        channels = len(image.getbands())
        name = _name(split, colour, channels)
        with self._lock:
            if name not in self._files:
                self._files[name] = open_file(self.folder / name, os.O_RDWR | os.O_CREAT)
            file = self._files[name]
        write_at(file, image.tobytes(), index * self.frame.height * self.frame.width * channels)


def _name(split: str, colour: Colour | None, channels: int) -> str:
    return f"{split}-{channels}-{bytes(colour).hex() if colour else 'opaque'}"


def _in_frame(inner: Pixels, rule: InputRule) -> Pixels:
    height, width = inner.shape[:2]
    if (height, width) == (rule.height, rule.width):
        return inner
    padded = np.empty((rule.height, rule.width, rule.channels), np.uint8)
    padded[...] = rule.background
    left, top = rule.place((width, height))
    padded[top : top + height, left : left + width] = inner
    return padded
