"""Decode a data set into the cache."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from convsmith.cluster.engine import chosen_engine
from convsmith.data.cache.cache import load_cached
from convsmith.data.sources import find_source
from convsmith.recipes.in_memory import data_config


@dataclass(frozen=True, kw_only=True)
class DecodedData:
    """A data set in the cache.

    Attributes:
        title: Its name.
        location: Its folder, hub id or package.
        images: The number of images in each split of the source.
        classes: Their names, in the order of the labels.
        image_shape: Of one image, `(C, H, W)`.
        fingerprint: A SHA-256 of all images and labels that does not depend on their order.
        left_out: The number of unusable images, which `data.skip_damaged` leaves out.
        folder: With the decoded images.
    """

    title: str
    location: str
    images: Mapping[str, int]
    classes: tuple[str, ...]
    image_shape: tuple[int, int, int]
    fingerprint: str
    left_out: int
    folder: Path

    def record(self) -> dict[str, Any]:
        """Return plain tables, for `--json`."""
        return {
            "title": self.title,
            "location": self.location,
            "images": dict(self.images),
            "classes": list(self.classes),
            "image_shape": list(self.image_shape),
            "fingerprint": self.fingerprint,
            "left_out": self.left_out,
            "folder": str(self.folder),
        }


def decode_data(
    name: object,
    *overrides: str,
    refresh: bool = False,
    on: str | None = None,
    workers: int | None = None,
) -> DecodedData:
    """Decode the images of a data set into the cache, where training and every other command use them.

    Args:
        name: As for `verify_data`.
        overrides: As for `verify_data`.
        refresh: Decode the images again, even if the cache has them.
        on: As for `verify_data`. The cache is the same, to the byte.
        workers: As for `verify_data`.

    Raises:
        DataError: Images are unreadable or of mixed sizes, labels are out of range, or the cache is damaged.
        UsageError: As `verify_data`; so are MissingExtraError and ProcessError.
        FileError: The cache cannot be written.

    Example:
        >>> import convsmith as cs
        >>> cs.decode_data("digits").image_shape
        (1, 8, 8)
    """
    engine = chosen_engine(on, workers)
    with data_config(name, overrides) as config:
        source = find_source(config)
        cached = load_cached(source, config, refresh=refresh, engine=engine, workers=workers)
    height, width, channels = cached.splits["train"].images.shape[1:]
    return DecodedData(
        title=source.title,
        location=source.location,
        images={name: len(split.labels) for name, split in cached.splits.items()},
        classes=cached.class_names,
        image_shape=(channels, height, width),
        fingerprint=cached.fingerprint,
        left_out=len(cached.dropped),
        folder=cached.folder,
    )
