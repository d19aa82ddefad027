"""What the name of an array says: its split, and whether it has images, labels or the names of classes."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from convsmith.data.splits import Role, role_of

Part = Literal["images", "labels", "names"]
_IMAGES = frozenset(
    {"x", "xs", "image", "images", "img", "imgs", "data", "pixel", "pixels", "feature", "features"}
    | {"input", "inputs", "picture", "pictures"}
)
_LABELS = frozenset(
    {"y", "ys", "label", "labels", "lbl", "target", "targets", "class", "classes", "category", "categories"}
    | {"annotation", "annotations"}
)
_NAMES = frozenset({"name", "names", "meanings"})
_PARTS = _IMAGES | _LABELS | _NAMES
# x_train, trainX, X2; xtrain is one word.
_WORDS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")
_JOINED = re.compile(r"([xy])(train|test|val|valid|validation|dev)$", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class ArrayName:
    """What the name of an array says.

    Attributes:
        split: The name without what says the part, such as `"train"`; empty if nothing is left.
        part: None if the name says neither.
        role: The split that the name stands for.
    """

    split: str
    part: Part | None
    role: Role | None


def array_name(path: Sequence[str], parts: Mapping[str, Part] | None = None) -> ArrayName:
    """Return what the name of an array says.

    Args:
        path: The folders, the file and, in a `.npz`, the array's own name; the last says the part.
        parts: Names, or parts of names, that the recipe gives for the images and the labels.

    >>> array_name(["x_train"])
    ArrayName(split='train', part='images', role='train')
    >>> array_name(["test", "labels"]).split, array_name(["trainY"]).part, array_name(["class_names"]).part
    ('test', 'labels', 'names')
    """
    *folders, last = path
    words = _words(last)
    split = "_".join(word for word in words if word.lower() not in _PARTS)
    part = _part(words)
    if parts is not None:
        part = None
        for text, named in parts.items():
            without = re.sub(rf"(^|[-_. ]){re.escape(text)}([-_. ]|$)", "_", last).strip("_-. ")
            if text == last:
                # The whole name, such as x_train, has the split in it.
                split, part = "_".join(word for word in words if word.lower() not in _PARTS), named
            elif without != last:
                split, part = without, named
    places = [*folders, split]
    roles = [found for place in reversed(places) if (found := role_of(place))]
    role: Role | None = "aside" if "aside" in roles else (roles[0] if roles else None)
    return ArrayName(split="/".join(filter(None, places)), part=part, role=role)


def _words(name: str) -> list[str]:
    return [
        word
        for each in re.split(r"[\W\d_]+", name)
        for joined in [_JOINED.match(each)]
        for word in (joined.groups() if joined else _WORDS.findall(each))
    ]


def _part(words: Sequence[str]) -> Part | None:
    found = {word.lower() for word in words}
    if found & _NAMES:
        return "names"
    # `image_labels` are labels.
    if found & _LABELS:
        return "labels"
    return "images" if found & _IMAGES else None
