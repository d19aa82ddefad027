"""Data sets ready for training: split, identified by fingerprint, with mean and standard deviation."""

import dataclasses
import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from convsmith.data.cache.cache import (
    CachedData,
    CachedSplit,
    fingerprint,
    image_locations,
    load_cached,
)
from convsmith.data.config import DataConfig
from convsmith.data.fold import TEST_SET, EvaluationSet, Fold
from convsmith.data.images.input_rule import InputRule
from convsmith.data.images.memory_mapped import DiskImages, Images
from convsmith.data.issues import DataIssue
from convsmith.data.raw import Source, SourceLayout
from convsmith.data.sources import find_source
from convsmith.data.splitting import Grouping, Indices, SplitError, connected, fold_numbers, held_out
from convsmith.errors import DataError, RecipeError
from convsmith.system.folders import expand_user

# Images read at once in a pass over all of them, and the share of memory that images may take.
_CHUNK, _MEMORY_SHARE = 4096, 0.25


@dataclass(frozen=True, kw_only=True)
class DatasetInfo:
    """What a net must match: the shape of one image `(C, H, W)`, and the number of classes."""

    image_shape: tuple[int, int, int]
    num_classes: int


@dataclass(frozen=True, kw_only=True)
class CanonicalDataset:
    """A well-known data set: its title, the fingerprint of both splits together, and its shape."""

    title: str
    fingerprint: str
    info: DatasetInfo


CANONICAL = {
    "digits": CanonicalDataset(
        title="scikit-learn digits",
        fingerprint="9f2e10b14a82344a507c13e71664a5f079e7b983f1c1727a8a79a8ddbc9f8f73",
        info=DatasetInfo(image_shape=(1, 8, 8), num_classes=10),
    ),
    "mnist": CanonicalDataset(
        title="MNIST",
        fingerprint="b1247973e99c747b84583c7589138af51440eb31217b4513d490f9c92427705d",
        info=DatasetInfo(image_shape=(1, 28, 28), num_classes=10),
    ),
    "cifar10": CanonicalDataset(
        title="CIFAR-10",
        fingerprint="9f3df44829b27f5bfa686ccafb396a4901985d5bac6a4cea4bbce03acf968db6",
        info=DatasetInfo(image_shape=(3, 32, 32), num_classes=10),
    ),
}


@dataclass(frozen=True, kw_only=True)
class Split:
    """Images `(N, H, W, C)` uint8, in memory or on disk, labels and, if any, group numbers `(N,)` int64."""

    images: Images
    labels: NDArray[np.int64]
    groups: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def select(self, indices: NDArray[np.int64] | NDArray[np.bool_]) -> "Split":
        """Return some of the images, in the order of `indices`, or where a mask is true."""
        images = self.images
        selected = images.select(indices) if isinstance(images, DiskImages) else images[indices]
        groups = None if self.groups is None else self.groups[indices]
        return Split(images=selected, labels=self.labels[indices], groups=groups)

    def joined(self, other: "Split") -> "Split":
        """Return the images of both, those of the other last; images on disk stay there."""
        one, more = self.images, other.images
        if isinstance(one, DiskImages) and isinstance(more, DiskImages):
            images: Images = one.joined(more)
        else:
            images = np.concatenate([np.asarray(one), np.asarray(more)])
        groups = None
        if self.groups is not None and other.groups is not None:
            groups = np.concatenate([self.groups, other.groups])
        return Split(images=images, labels=np.concatenate([self.labels, other.labels]), groups=groups)


@dataclass(frozen=True, kw_only=True)
class TrainingData:
    """A data set without its test images, for training and model selection.

    Attributes:
        title: The display name.
        location: The folder, hub id or package that the data set was read from.
        identity: Whether it is the canonical data set of that name.
        fingerprint: A hash of all images and labels that does not depend on their order.
        mean: Per channel, pixels scaled to 0..1: that of the `[data]` table, or over the training split.
        std: Standard deviation, as `mean`; never 0.
        rule: How files became these images.
        dropped: Issues of the damaged images that were left out.
        layout: What was decided about the source's splits and names, and what is not read.
        grouping: What was kept together when images were held out.
        validation_is_split_off: Whether the validation images were taken from the training images.
        source: Where the images were read from; None if they were made in memory.
    """

    title: str
    location: str
    identity: str
    fingerprint: str
    class_names: tuple[str, ...]
    train: Split
    validation: Split | None
    mean: tuple[float, ...]
    std: tuple[float, ...]
    rule: InputRule
    dropped: tuple[DataIssue, ...] = ()
    layout: SourceLayout = field(default_factory=SourceLayout)
    grouping: Grouping | None = None
    validation_is_split_off: bool = True
    source: Source | None = None

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """The shape of one image, `(C, H, W)`."""
        height, width, channels = self.train.images.shape[1:]
        return channels, height, width

    @property
    def info(self) -> DatasetInfo:
        return DatasetInfo(image_shape=self.image_shape, num_classes=len(self.class_names))

    @property
    def splits(self) -> dict[str, Split]:
        """The splits by name."""
        return {"train": self.train, **({"validation": self.validation} if self.validation else {})}

    @cached_property
    def leaked_validation(self) -> int:
        """The number of validation images whose pixels, or whose group, the training images have."""
        if self.validation is None or self.validation_is_split_off:
            return 0
        return _shared(self.validation, [self.train])

    def split_fingerprints(self) -> dict[str, str]:
        """Return the fingerprint of the images and labels of each split."""
        return {name: fingerprint(split.images, split.labels.tolist()) for name, split in self.splits.items()}


@dataclass(frozen=True, kw_only=True)
class ImageDataset(TrainingData):
    """A data set with its test split.

    Attributes:
        test: The test split, or the held-out fold.
        test_is_split_off: Whether these images were taken from the training images.
        fold: The fold that is held out; None in ordinary trainings.
    """

    test: Split
    test_is_split_off: bool
    fold: Fold | None = None

    @property
    def evaluation_set(self) -> EvaluationSet:
        """The names of the images of `test`."""
        return TEST_SET if self.fold is None else self.fold.evaluation_set

    @property
    def splits(self) -> dict[str, Split]:
        """The splits by name."""
        return {**super().splits, "test": self.test}

    @cached_property
    def leaked(self) -> int:
        """The number of test images whose pixels, or whose group, the training or validation images have."""
        return _shared(self.test, [split for split in (self.train, self.validation) if split])


def load(config: DataConfig, *, refresh: bool = False) -> ImageDataset:
    """Find, decode, verify and split a data set.

    Args:
        config: The `[data]` table of a recipe.
        refresh: Decode the images again, even if the cache has them.

    Raises:
        DataError: The data set cannot be found or read, or is too small to be split.
        RecipeError: `data.mean` or `data.std` has not one number per channel.

    Example:
        >>> data = load(DataConfig(source="digits", test_fraction=0.25))
        >>> data.image_shape, len(data.train), len(data.test)
        ((1, 8, 8), 1347, 450)
    """
    source = find_source(config)
    cached = load_cached(source, config, refresh=refresh)
    training, split_off = _training_data(source, cached, config)
    test = split_off or _split(cached.splits["test"], resident=_fits_in_memory(cached, config))
    fields = {each.name: getattr(training, each.name) for each in dataclasses.fields(training)}
    return ImageDataset(
        **fields, test=test, test_is_split_off=split_off is not None, fold=config.held_out_fold
    )


def load_training_data(config: DataConfig) -> TrainingData:
    """Load a data set without its test images, for choices that must not depend on them.

    Raises:
        DataError: As `load`.

    Example:
        >>> data = load_training_data(DataConfig(source="digits", test_fraction=0.25, validation=0.2))
        >>> sorted(data.splits), hasattr(data, "test")
        (['train', 'validation'], False)
    """
    source = find_source(config)
    return _training_data(source, load_cached(source, config), config)[0]


def _training_data(
    source: Source, cached: CachedData, config: DataConfig
) -> tuple[TrainingData, Split | None]:
    """Return the training data, and the test split or the fold that was taken from the training images."""
    parts = _parts(source, cached, config)
    train, held = parts.rest, parts.held
    own_validation = None if config.fold else _own_validation(cached, config)
    mean, std = _statistics(train.images, config)
    height, width, channels = train.images.shape[1:]
    training = TrainingData(
        title=source.title,
        location=source.location,
        identity=_identity(config.source, source.title, cached.fingerprint),
        fingerprint=cached.fingerprint,
        class_names=cached.class_names,
        train=train,
        validation=held.get("validation") or own_validation,
        validation_is_split_off=own_validation is None,
        mean=mean,
        std=std,
        rule=InputRule(
            channels=channels,
            height=height,
            width=width,
            resize_policy=config.policy,
            background=cached.background,
        ),
        dropped=cached.dropped,
        layout=cached.layout,
        grouping=parts.grouping,
        source=source,
    )
    return training, held.get("test")


def held_out_positions(config: DataConfig) -> dict[str, list[int]]:
    """Return the positions of the images of each split that is held out, among those that earlier ones leave.

    Images are ordered by the hash of label and pixels, as in the cache.

    Args:
        config: Without a fold.

    Raises:
        DataError: As `load`.
    """
    source = find_source(config)
    cached = load_cached(source, config)
    disk = config.model_copy(update={"keep_in": "disk"})
    return {name: np.flatnonzero(mask).tolist() for name, mask in _parts(source, cached, disk).masks.items()}


@dataclass(frozen=True, kw_only=True)
class FoldedData:
    """The images that folds divide: those of the training set, and those of a validation split.

    Attributes:
        images: Ordered by the hash of label and pixels, those of a source's validation split last.
        folds: The fold of each image, from 0, `(N,)`.
        locations: Of each image in the source: a file, or a row.
        fingerprint: Of all images and labels of the source, test images included.
        grouping: What was kept together.
        layout: What was decided about the source's splits and names, and what is not read.
    """

    title: str
    location: str
    identity: str
    fingerprint: str
    class_names: tuple[str, ...]
    images: Split
    folds: Indices
    locations: tuple[str, ...]
    grouping: Grouping
    layout: SourceLayout
    source: Source

    def __len__(self) -> int:
        return len(self.folds)


def load_folds(config: DataConfig, count: int, *, refresh: bool = False) -> FoldedData:
    """Load the images that a data set is trained on, and divide them into folds.

    Args:
        config: The `[data]` table of a recipe, without a fold.
        count: Of the folds.
        refresh: Decode the images again, even if the cache has them.

    Raises:
        DataError: As `load`, or a class has too few images, or groups, for a fold each, or for a validation
            split beside them.

    Example:
        >>> data = load_folds(DataConfig(source="digits", test_fraction=0.25), 5)
        >>> np.bincount(data.folds).tolist(), data.locations[0].startswith("image ")
        ([270, 270, 269, 269, 269], True)
    """
    source = find_source(config)
    cached = load_cached(source, config, refresh=refresh)
    of_number = (config.model_copy(update={"fold": f"{each}/{count}"}) for each in range(1, count + 1))
    images = _divisible(cached, config.model_copy(update={"fold": f"1/{count}"}))
    first = _parts(source, cached, next(of_number), images)
    if config.validation:
        # Whether each fold can be trained, before any is.
        for each in of_number:
            _parts(source, cached, each, images)
    assert first.pool is not None
    assert first.folds is not None
    assert first.grouping is not None
    stored = image_locations(source, config)
    locations = np.array(stored["train"], dtype=object)
    if (mask := first.masks.get("unused")) is not None:
        locations = locations[~mask]
    if config.own_validation:
        locations = np.concatenate([locations, np.array(stored["validation"], dtype=object)])
    return FoldedData(
        title=source.title,
        location=source.location,
        identity=_identity(config.source, source.title, cached.fingerprint),
        fingerprint=cached.fingerprint,
        class_names=cached.class_names,
        images=first.pool,
        folds=first.folds,
        locations=tuple(locations.tolist()),
        grouping=first.grouping,
        layout=cached.layout,
        source=source,
    )


def dataset_info(config: DataConfig) -> DatasetInfo:
    """Return the shape of a data set; only data sets that are not canonical are read.

    Raises:
        DataError: As `load`.
    """
    if config.source in CANONICAL:
        info = CANONICAL[config.source].info
        channels, height, width = info.image_shape
        return replace(info, image_shape=(channels, *(config.size or (height, width))))
    return load(config).info


def with_absolute_source(config: DataConfig) -> DataConfig:
    """Return a config with an absolute path, if the source is a folder or a file."""
    folder = expand_user(config.source)
    if config.source not in CANONICAL and folder.exists():
        return config.model_copy(update={"source": str(folder.resolve())})
    return config


def image_ids(images_NHWC: Images) -> NDArray[np.bytes_]:  # noqa: N803
    """Return ids of images that depend only on their pixels: `(N,)`, 16 hexadecimal digits each.

    Example:
        >>> image_ids(np.zeros((1, 2, 2, 1), dtype=np.uint8))
        array([b'e74109626b659a44'], dtype='|S16')
    """
    shape = str(images_NHWC.shape[1:]).encode()
    digests = (hashlib.sha256(shape + np.asarray(image).tobytes()).hexdigest()[:16] for image in images_NHWC)
    # Without a text for each of millions of images at once.
    return np.fromiter(digests, dtype="S16", count=len(images_NHWC))


def mean_and_std(images_NHWC: Images) -> tuple[tuple[float, ...], tuple[float, ...]]:  # noqa: N803
    """Return mean and standard deviation per channel, pixels scaled to 0..1; exact, from a histogram.

    Example:
        >>> mean_and_std(np.array([[[[0], [255]]]], dtype=np.uint8))
        ((0.5,), (0.5,))
    """
    values = np.arange(256) / 255
    channels = images_NHWC.shape[-1]
    counts = np.zeros((channels, 256), dtype=np.int64)
    for start in range(0, len(images_NHWC), _CHUNK):
        part = images_NHWC[start : start + _CHUNK]
        for channel in range(channels):
            counts[channel] += _histogram(part[..., channel].ravel())
    shares = counts / counts.sum(axis=1, keepdims=True)
    means = shares @ values
    deviations = np.sqrt((shares * (values - means[:, None]) ** 2).sum(axis=1))
    # A constant channel is not scaled.
    return tuple(map(float, means)), tuple(float(each) or 1.0 for each in deviations)


def _histogram(levels: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Count each level, `(256,)`; pairs of levels are counted at once, which takes half the time."""
    pairs = np.bincount(levels[: len(levels) // 2 * 2].view(np.uint16), minlength=2**16).reshape(256, 256)
    counts: NDArray[np.int64] = pairs.sum(axis=0) + pairs.sum(axis=1)
    if len(levels) % 2:
        counts[levels[-1]] += 1
    return counts


def _statistics(images_NHWC: Images, config: DataConfig) -> tuple[tuple[float, ...], tuple[float, ...]]:  # noqa: N803
    """Return mean and standard deviation per channel: those of the `[data]` table, the others measured."""
    if problems := config.channel_problems(images_NHWC.shape[-1]):
        raise RecipeError.of(problems)
    if config.mean and config.std:
        return config.mean, config.std
    mean, std = mean_and_std(images_NHWC)
    return config.mean or mean, config.std or std


def _fits_in_memory(cached: CachedData, config: DataConfig) -> bool:
    if config.keep_in != "auto":
        return config.keep_in == "memory"
    size = sum(split.images.nbytes for split in cached.splits.values())
    return size <= _MEMORY_SHARE * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _split(cached: CachedSplit, *, resident: bool) -> Split:
    # Copied if it fits: random access to a file is slow.
    images = np.array(cached.images) if resident else DiskImages(cached.images)
    return Split(images=images, labels=cached.labels, groups=cached.groups)


def _shared(split: Split, others: Sequence[Split]) -> int:
    """Return how many images of a split have the pixels, or the group, of an image of other splits."""
    ids = np.concatenate([image_ids(each.images) for each in others])
    found = np.isin(image_ids(split.images), ids)
    if split.groups is not None:
        groups = [each.groups for each in others if each.groups is not None]
        found |= np.isin(split.groups, np.concatenate(groups))
    return int(found.sum())


def _own_validation(cached: CachedData, config: DataConfig) -> Split | None:
    """Return the validation split of the source, if it is used as such."""
    own = cached.splits.get("validation")
    return None if own is None else _split(own, resident=_fits_in_memory(cached, config))


@dataclass(frozen=True, kw_only=True)
class _Parts:
    """The training images, and the parts that are held out of them.

    Attributes:
        rest: What remains for training.
        held: The parts by name: "test" is the held-out fold if there is one, else the split-off test set.
        masks: Of each part, which images it has of those that earlier parts leave. With a fold, "unused" has
            the images that an ordinary training holds out as test set.
        grouping: What was kept together; None if nothing was held out.
        pool: What folds divide.
        folds: The fold of each of these, from 0.
    """

    rest: Split
    held: dict[str, Split]
    masks: dict[str, NDArray[np.bool_]]
    grouping: Grouping | None
    pool: Split | None = None
    folds: Indices | None = None


class _Divisible:
    """Images to be divided, and what connects them, which is computed when it is needed.

    Args:
        split: The images.
        ids: Of each image, if they are known.
    """

    def __init__(self, split: Split, ids: NDArray[np.bytes_] | None = None) -> None:
        self.split, self._ids = split, ids

    @cached_property
    def ids(self) -> NDArray[np.bytes_]:
        return image_ids(self.split.images) if self._ids is None else self._ids

    @cached_property
    def grouping(self) -> Grouping:
        """How many images must stay together: those of equal pixels, and those of one group."""
        groups = self.split.groups
        return Grouping(
            equal_images=len(self.ids) - len(np.unique(self.ids)),
            groups=None if groups is None else len(np.unique(groups)),
        )

    @cached_property
    def units(self) -> Indices:
        """The numbers of the sets of images that must stay together, `(N,)`."""
        if self.grouping.is_trivial:
            return np.arange(len(self.ids))
        groups = self.split.groups
        return connected(self.ids, *([] if groups is None else [groups]))

    def without(self, mask: NDArray[np.bool_]) -> "_Divisible":
        """Return the images that a part leaves."""
        return _Divisible(self.split.select(~mask), self.ids[~mask])

    def joined(self, other: "_Divisible") -> "_Divisible":
        """Return these images and others."""
        return _Divisible(self.split.joined(other.split), np.concatenate([self.ids, other.ids]))


# The training images, and for folds those of a validation split that is used as such.
_Images = tuple[_Divisible, _Divisible | None]


def _divisible(cached: CachedData, config: DataConfig) -> _Images:
    train = _split(cached.splits["train"], resident=_fits_in_memory(cached, config))
    own = _own_validation(cached, config) if config.fold else None
    return _Divisible(train), None if own is None else _Divisible(own)


def _parts(source: Source, cached: CachedData, config: DataConfig, images: _Images | None = None) -> _Parts:
    """Hold images out of the training set, each part among those that earlier ones leave."""
    rest, own = images or _divisible(cached, config)
    splits_test, fold = "test" not in cached.splits, config.held_out_fold
    if not (splits_test or fold or config.validation_share):
        return _Parts(rest=rest.split, held={}, masks={}, grouping=None)
    seed, names = config.split_seed, cached.class_names
    grouping, share = rest.grouping, config.validation_share
    held: dict[str, Split] = {}
    masks: dict[str, NDArray[np.bool_]] = {}
    pool = folds = None

    def hold_out(name: str, mask: NDArray[np.bool_]) -> None:
        nonlocal rest
        masks[name], held[name] = mask, rest.split.select(mask)
        rest = rest.without(mask)

    def choose(fraction: float) -> NDArray[np.bool_]:
        return held_out(rest.split.labels, rest.units, fraction, seed, names)

    try:
        if splits_test:
            hold_out("unused" if fold else "test", choose(config.test_fraction))
        if fold:
            if own is not None:
                rest = rest.joined(own)
                share = min(len(own.ids) / len(rest.ids), 0.5)
            pool, grouping = rest.split, rest.grouping
            folds = fold_numbers(pool.labels, rest.units, fold.count, seed, names)
            hold_out("test", folds == fold.number - 1)
        if share:
            hold_out("validation", choose(share))
    except SplitError as error:
        raise _split_error(error, source.location, fold) from error
    return _Parts(rest=rest.split, held=held, masks=masks, grouping=grouping, pool=pool, folds=folds)


def _split_error(error: SplitError, location: str, fold: Fold | None) -> DataError:
    fix = "give every class two images of different pixels and groups, or hold out a larger share"
    if fold:
        fix = "use fewer folds, or give every class more images of different pixels and groups"
    return DataError(str(error), where=location, fix=fix)


def _identity(name: str, title: str, digest: str) -> str:
    for canonical in CANONICAL.values():
        if digest == canonical.fingerprint:
            return f"{canonical.title}, verified"
    if name in CANONICAL:
        return f"differs from {CANONICAL[name].title}"
    # The name of a folder must not look like the result of the comparison.
    return f"{title} (the name of a folder)" if title.endswith("verified") else title
