"""The image files of each split, for those who read the splits without this library."""

from collections.abc import Collection

from convsmith.data.cache.cache import image_locations, load_cached
from convsmith.data.config import DataConfig
from convsmith.data.dataset import held_out_positions
from convsmith.data.raw import RawSplit
from convsmith.data.sources import find_source, read_source

# Files relative to the source, each with its class index.
LabelledFiles = list[tuple[str, int]]


def split_files(config: DataConfig) -> dict[str, LabelledFiles]:
    """Return the files of the splits of an image folder, without those that are left out.

    Args:
        config: The `[data]` table of a recipe whose source is a folder of images.

    Raises:
        DataError: As `data.dataset.load`.
    """
    source = find_source(config)
    cached = load_cached(source, config)
    raw = read_source(source, config)
    dropped = {issue.file for issue in cached.dropped}
    files = {name: _listed(split, dropped) for name, split in raw.splits.items()}
    held_out = held_out_positions(config)
    if not held_out:
        return files
    labels = dict(files["train"])
    rest = [(location, labels[location]) for location in image_locations(source, config)["train"]]
    for name, positions in held_out.items():
        chosen = set(positions)
        files[name] = [rest[position] for position in positions]
        rest = [each for position, each in enumerate(rest) if position not in chosen]
    return {**files, "train": rest}


def _listed(split: RawSplit, dropped: Collection[str]) -> LabelledFiles:
    pairs = zip(split.locations, split.labels, strict=True)
    return [(location, int(label)) for location, label in pairs if location not in dropped]
