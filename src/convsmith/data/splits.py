"""Names of splits: what a folder, a file or a table holds by its name, as found in published data sets."""

import re
import unicodedata
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from typing import Literal

from convsmith.data.config import SplitNames
from convsmith.errors import DataError, suggest

# "aside": a part of a data set that is neither, such as unlabelled or augmented images.
Role = Literal["train", "test", "validation", "aside"]

_STEMS: dict[Role, tuple[str, ...]] = {
    "train": ("train", "training", "trn"),
    "test": ("test", "testing", "tst", "eval", "evaluation"),
    "validation": ("validation", "valid", "val", "validate", "dev", "devel", "development"),
}
_ENDINGS = ("", "s", "set", "sets", "data", "dataset", "split", "images", "image", "imgs", "img", "ds")
_ASIDE = """
    unlabelled unlabeled unlabel unsupervised unannotated extra extras holdout heldout pred preds
    unsup predict prediction predictions predicted submission submissions augmented augment augmentation
    augmentations augm aug trainval traintest trainvaltest synthetic pseudo inference ignore ignored
    rejected discarded unused
"""
_ROLES: dict[str, Role] = {
    **{stem + ending: role for role, stems in _STEMS.items() for stem in stems for ending in _ENDINGS},
    **dict.fromkeys(_ASIDE.split(), "aside"),
}
# Words that may stand beside the word of a split and say nothing of what the images show.
_FILLERS = """
    set sets data dataset datasets split splits images image imgs img pics pictures photos folder
    folders dir seg segmentation part subset sample samples of the final new old original orig raw full
    all small mini tiny large big clean cleaned resized cropped copy version v hold held out un non px x
    public private labelled labeled only for batch
"""
# Words that are no part of a class in the name of a folder with a split: FistImages, cat_train_set.
_NOT_OF_A_CLASS = frozenset({"set", "sets", "split", "splits", "pics", "pictures", "photos", "folder"})
_CONTAINERS = frozenset({"images", "image", "imgs", "img", "jpegimages", "data", "dataset", "annotations"})
VALIDATION_NOTE = (
    "the source has no test split: its validation split, {}, serves as test set; "
    'data.validation="split" uses it for validation instead'
)
NO_SHARE = "or hold out a share of the training set: data.validation=0.1"


def role_of(name: str) -> Role | None:
    """Return what a name says about a part of a data set; None if it says nothing.

    The word may stand anywhere in the name, in any case. A name with the words of two splits is "aside".

    >>> [role_of(name) for name in ("Training", "seg_test", "dev-2017", "train_augmented", "steam", "attest")]
    ['train', 'test', 'validation', 'aside', None, None]
    """
    parts = split_words(name)
    found = {_ROLES[word] for word in (*parts, *_pairs(parts)) if word in _ROLES}
    return found.pop() if len(found) == 1 else ("aside" if found else None)


def is_split_name(name: str) -> bool:
    """Return whether a name consists of the words of splits alone, so that it names no class.

    >>> [is_split_name(name) for name in ("seg_pred", "Test (1)", "hold out", "steam train", "test tube")]
    [True, True, True, False, False]
    """
    fillers = _FILLERS.split()
    return role_of(name) is not None and all(word in _ROLES or word in fillers for word in split_words(name))


def is_container_name(name: str) -> bool:
    """Return whether a folder is named after images as such, not after a class.

    >>> [is_container_name(name) for name in ("images", "Images_01", "cat images")]
    [True, True, False]
    """
    words = split_words(name)
    return bool(words) and all(word in _CONTAINERS for word in words)


def splits_in_names(names: Sequence[str]) -> dict[str, tuple[str, Role]]:
    """Return class and split of each folder, if the names of all have both; empty otherwise.

    At least two classes must have the same splits, a test or validation set among them. Without a word for
    the training set, the folders without a word of a split have it.

    >>> splits_in_names(["FistImages", "FistTest", "PalmImages", "PalmTest"])["FistTest"]
    ('Fist', 'test')
    >>> splits_in_names(["cat_train", "cat_test", "dog_train"]), splits_in_names(["steam train", "test tube"])
    ({}, {})
    """
    roles = {name: role_of(name) for name in names}
    others = {name: None for name, role in roles.items() if role is None}
    if "train" in roles.values() and others:
        return {}
    found = {name: (_without_split(name), role or "train") for name, role in roles.items()}
    classes: dict[str, list[Role]] = {}
    for name, role in found.values():
        classes.setdefault(name, []).append(role)
    splits = {tuple(sorted(each)) for each in classes.values()}
    # The same splits in every class, each once.
    if len(classes) < 2 or "" in classes or len(splits) != 1:
        return {}
    (roles_of_a_class,) = splits
    is_complete = "train" in roles_of_a_class and {"test", "validation"} & {*roles_of_a_class}
    is_unique = len({*roles_of_a_class}) == len(roles_of_a_class) and "aside" not in roles_of_a_class
    return found if is_complete and is_unique else {}


def _without_split(name: str) -> str:
    """Return a name without the words of splits, and those that only say that there are images.

    >>> _without_split("Fist Images"), _without_split("test_polar-bear"), _without_split("catTrain")
    ('Fist', 'polar-bear', 'cat')
    """
    parts = re.split(r"([\W_]+|(?<=[a-z])(?=[A-Z]))", name)
    kept = [
        index
        for index in range(0, len(parts), 2)
        if parts[index] and parts[index].casefold() not in {*_ROLES, *_CONTAINERS, *_NOT_OF_A_CLASS}
    ]
    return "".join(parts[kept[0] : kept[-1] + 1]) if kept else ""


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """The names of the splits that are used.

    A validation split that is not used as such is the test set if there is no other.
    """

    train: str
    test: str | None = None
    validation: str | None = None
    test_is_validation: bool = False
    train_is_unknown: bool = False

    @property
    def notes(self) -> tuple[str, ...]:
        """What the names were taken for, for the log; nothing for the usual names."""
        unknown = f"the training set is {self.train}: no other name of a split is unknown"
        others = self.test is not None or self.validation is not None
        own = f"the source's own validation split is used: {self.validation}"
        return (
            *([unknown] if self.train_is_unknown and others else []),
            *([own] if self.validation is not None else []),
            *([VALIDATION_NOTE.format(self.test)] if self.test_is_validation else []),
        )

    def by_role(self) -> dict[str, str]:
        """Return the names by `"train"` and, if they are used, `"validation"` and `"test"`."""
        names = {"train": self.train, "validation": self.validation, "test": self.test}
        return {role: name for role, name in names.items() if name is not None}


def choose_splits(
    roles: Mapping[str, Role | None],
    sizes: Mapping[str, int],
    where: str,
    *,
    own_validation: bool = False,
) -> Chosen:
    """Choose the training and the test set among the splits of a source, and the validation set on request.

    Without a training set by its name, the only split of an unknown name is the training set.

    Args:
        roles: The role of each split.
        sizes: The number of images of each split, for the error.
        where: The source, for the error.
        own_validation: Whether the validation split is used as such.

    Raises:
        DataError: No split is the training set, several splits have one role, or there is no validation split
            to be used as such.

    >>> choose_splits({"train": "train", "dev": "validation"}, {}, "data").by_role()
    {'train': 'train', 'test': 'dev'}
    """
    only = {
        role: _only(role, roles, sizes, where, own_validation=own_validation)
        for role in ("train", "test", "validation")
    }
    unknown = [name for name, role in roles.items() if role is None]
    train_is_unknown = only["train"] is None and len(unknown) == 1
    if train_is_unknown:
        only["train"] = unknown[0]
    if only["train"] is None:
        found = ", ".join(f"{name} ({sizes[name]:,} images)" if name in sizes else name for name in roles)
        raise DataError(
            f"found the splits {found}, expected one named train",
            where=where,
            fix=_training_set_fix(roles),
        )
    if own_validation:
        if only["validation"] is None:
            raise no_validation_error(", ".join(roles), where)
        return Chosen(
            train=only["train"],
            validation=only["validation"],
            test=only["test"],
            train_is_unknown=train_is_unknown,
        )
    return Chosen(
        train=only["train"],
        test=only["validation"] if only["test"] is None else only["test"],
        test_is_validation=only["test"] is None and only["validation"] is not None,
        train_is_unknown=train_is_unknown,
    )


def _training_set_fix(roles: Mapping[str, Role | None]) -> str:
    """Return the fix for splits without a training set: a test set is named only if it is the only split."""
    if example := next((name for name, role in roles.items() if role in {None, "aside"}), None):
        return f'name it, for example data.splits.train="{example}"'
    if len(roles) > 1:
        return 'add the training set, or name one of the splits: data.splits.train="NAME"'
    (only,) = roles
    return (
        "add the training set (was a file not downloaded?); to train on a part of these images, and test on "
        f'the rest: data.splits.train="{only}"'
    )


def no_validation_error(found: str, where: str) -> DataError:
    """Return the error for `data.validation="split"` and a source without a validation split."""
    return DataError(
        f'data.validation="split" needs a validation split, found {found or "no splits"}',
        where=where,
        fix=f'name it: data.splits.train="..." data.splits.validation="...", {NO_SHARE}',
    )


def named_splits(named: SplitNames, splits: Collection[str]) -> Chosen:
    """Return the splits that a recipe names, among those of a source.

    Raises:
        DataError: The source has no such split, or one is named twice.
    """
    for role, name in named.by_role().items():
        if name not in splits:
            raise DataError(f"no split {name!r}", where=f"data.splits.{role}", fix=suggest(name, splits))
    names = named.by_role()
    for one, other in combinations(names, 2):
        if names[one] == names[other]:
            raise overlap_error(named, one, other)
    return Chosen(train=named.train, validation=named.validation, test=named.test)


def overlap_error(named: SplitNames, one: str, other: str) -> DataError:
    """Return the error for two splits that a recipe names and that share images."""
    sets = {"train": "training set", "validation": "validation set", "test": "test set"}
    names = named.by_role()
    instead = {"test": "so that a test set is split off", "validation": 'without data.validation="split"'}
    return DataError(
        f"the {sets[one]} {names[one]!r} and the {sets[other]} {names[other]!r} share images",
        where="data.splits",
        fix=f"name two that share none, or omit data.splits.{other}, {instead[other]}",
    )


def _only(
    role: str,
    roles: Mapping[str, Role | None],
    sizes: Mapping[str, int],
    where: str,
    *,
    own_validation: bool,
) -> str | None:
    """Return the only split of a role; None without one."""
    names = [name for name, found in roles.items() if found == role]
    if len(names) < 2:
        return names[0] if names else None
    found = ", ".join(f"{name} ({sizes[name]:,} images)" if name in sizes else name for name in names)
    train = names[0] if role == "train" else next((name for name in roles if roles[name] == "train"), "NAME")
    # A validation split is the test set, unless the recipe uses it as such.
    named = "validation" if role == "validation" and own_validation else "test"
    test = "" if role == "train" else f' data.splits.{named}="{names[0]}"'
    raise DataError(
        f"found {len(names)} {role} splits: {found}",
        where=where,
        fix=f'name those to use, for example data.splits.train="{train}"{test}; the others are left out',
    )


def split_words(name: str) -> list[str]:
    """Return the words of a name, in lower case.

    >>> split_words("trainSet_2"), split_words("is_train")
    (['train', 'set'], ['is', 'train'])
    """
    text = unicodedata.normalize("NFKC", name)
    # trainSet, TestImages
    text = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", text)
    return [word for word in re.split(r"[\W\d_]+", text.casefold()) if word]


def _pairs(words: list[str]) -> list[str]:
    """Return each two neighbouring words as one: hold-out, un_labelled, train set."""
    return [first + second for first, second in pairwise(words)]
