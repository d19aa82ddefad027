"""Where the splits and class folders of an image folder are: by names, and by what folders hold."""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path, PurePosixPath

from convsmith.data.config import SplitNames
from convsmith.data.splits import (
    VALIDATION_NOTE,
    Role,
    choose_splits,
    is_container_name,
    is_split_name,
    no_validation_error,
    overlap_error,
    role_of,
    splits_in_names,
)
from convsmith.errors import DataError
from convsmith.text import join_first, plural

LAYOUT_HINT = "expected root/train/<class>/*.png and root/test/<class>/*.png, or root/<class>/*.png"
_TABLES = frozenset({".csv", ".tsv", ".xlsx", ".json", ".jsonl", ".xml", ".mat"})
_MAX_LISTED = 6
_UNUSED = 'a validation split beside a test split is not used (data.validation="split" uses it)'
Parts = tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Layout:
    """The parent folders of the class folders, relative to the root.

    Attributes:
        folders: Of `"train"` and, if they are used, `"validation"` and `"test"`.
        inner: Of each split, the name of its folder inside every class folder, if the splits are there.
        classes: Of each split, the class of each folder, if the names of the class folders have the splits.
        description: One line that names the layout.
        test_is_validation: Whether a validation split serves as the test set.
        notes: What was decided, for the log; nothing for the usual names.
        left_out: Folders that are not read, with the reason.
    """

    folders: Mapping[str, PurePosixPath]
    inner: Mapping[str, str] = field(default_factory=dict)
    classes: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    test_is_validation: bool = False
    notes: tuple[str, ...] = ()
    left_out: Mapping[PurePosixPath, str]

    @property
    def description(self) -> str:
        places = list(dict.fromkeys(f"{folder}/" for folder in self.folders.values() if folder.parts))
        inside = f" in {_joined(places)}" if places else ""
        splits = ""
        if self.inner:
            splits = f", each with the splits {_joined(f'{name}/' for name in self.inner.values())}"
        elif self.classes:
            firsts = _joined(f"{next(iter(names))}/" for names in self.classes.values())
            splits = f", whose names have the splits, such as {firsts}"
        return f"class folders{inside}{splits}"


class Tree:
    """How many images each folder holds."""

    def __init__(
        self, root: str, images: Iterable[Parts], folders: Iterable[Parts], files: Sequence[Parts]
    ) -> None:
        """Count images.

        Args:
            root: The name for errors.
            images: The path of each image relative to the root.
            folders: Likewise of each folder, empty ones included.
            files: Likewise of the other files.
        """
        self.root, self.files = root, files
        self.direct, self.total = Counter[Parts](), Counter[Parts]()
        self._children: dict[Parts, set[Parts]] = {}
        for path in images:
            self.direct[path[:-1]] += 1
            self.total.update(path[:length] for length in range(len(path)))
        for folder in folders:
            self._children.setdefault(folder[:-1], set()).add(folder)

    def children(self, folder: Parts) -> list[Parts]:
        return sorted(self._children.get(folder, ()))

    def holds_only_folders(self, folder: Parts) -> bool:
        """Return whether a folder holds images, but none directly."""
        return self.total[folder] > 0 and not self.direct[folder]

    def split_role(self, folder: Parts) -> Role | None:
        """Return the role of a folder that holds class folders; None for any other folder."""
        nested = self.total[folder] > self.direct[folder]
        if not nested or (self.direct[folder] and not is_split_name(folder[-1])):
            return None
        role = role_of(folder[-1])
        return None if role != "train" and self._is_flat(folder) else role

    def _is_flat(self, folder: Parts) -> bool:
        """Return whether all images of a split are in one folder that is no class by its name."""
        inner = self.unwrapped(folder, is_split=True)
        filled = [each for each in self.children(inner) if self.total[each]]
        if self.direct[inner] or len(filled) != 1 or self.total[filled[0]] > self.direct[filled[0]]:
            return False
        name = filled[0][-1]
        return name == folder[-1] or is_container_name(name) or is_split_name(name)

    def below(self, folder: Parts) -> Iterator[Parts]:
        """Yield a folder and all folders in it, each before its sub-folders."""
        yield folder
        for each in self.children(folder):
            yield from self.below(each)

    def split_roles(self, folder: Parts) -> dict[Parts, Role]:
        """Return the sub-folders that are the training, test or validation set by name and content."""
        children = self.children(folder)
        # Beside a class `bus`, the folders of `steam train` are no split; beside other splits, those of
        # `alphabet_train` are.
        has_classes = any(self.direct[each] and role_of(each[-1]) is None for each in children)
        named = [each for each in children if not has_classes or is_split_name(each[-1])]
        return {each: role for each in named if (role := self.split_role(each)) and role != "aside"}

    def inner_roles(self, folder: Parts) -> dict[str, Role]:
        """Return the names of the splits inside class folders, such as `cat/train` and `dog/train`.

        They are splits if every class folder holds nothing else, and there is a training set; a split that
        holds only folders is one of a fold, such as `fold1/train/cat`.
        """
        classes = [each for each in self.children(folder) if self.total[each]]
        inner = [each for name in classes for each in self.children(name) if self.total[each]]
        if len(classes) < 2 or any(self.direct[each] for each in classes):
            return {}
        roles = {each[-1]: role_of(each[-1]) for each in inner}
        found = {name: role for name, role in roles.items() if role}
        is_split = len(found) == len(roles) and not any(map(self.holds_only_folders, inner))
        return found if is_split and "train" in found.values() else {}

    def class_names(self, folder: Parts) -> list[str]:
        """Return the names of the class folders in a folder; empty if a folder in it holds folders."""
        filled = [each for each in self.children(folder) if self.total[each]]
        return [] if any(map(self.holds_only_folders, filled)) else [each[-1] for each in filled]

    def unlabelled(self, folder: Parts) -> list[Parts]:
        """Return the folders of test images that are in no class folders, beside two classes or more.

        Not beside a table, which may have the classes of all images. Other names of splits, such as `valid`
        and `rejected`, may be classes.
        """
        bins = [each for each in self.children(folder) if self.direct[each]]
        tests = [each for each in bins if is_split_name(each[-1]) and role_of(each[-1]) == "test"]
        return [] if len(bins) - len(tests) < 2 or self.tables() else tests

    def tables(self) -> list[Parts]:
        """Return the files that may be tables of labels."""
        return [each for each in self.files if PurePosixPath(each[-1]).suffix.lower() in _TABLES]

    def unwrapped(self, folder: Parts, *, is_split: bool = False) -> Parts:
        """Return the folder inside, while there is only one with images and it holds only folders."""
        while True:
            filled = [each for each in self.children(folder) if self.total[each]]
            if len(filled) != 1 or not self.holds_only_folders(filled[0]):
                return folder
            (only,) = filled
            # A training set alone, not a folder around the splits.
            if not is_split and self.split_role(only) in {"train", "test", "validation"}:
                inner = self.split_roles(self.unwrapped(only, is_split=True))
                if "train" not in inner.values() or len(inner) < 2:
                    return folder
            folder = only


def find_layout(tree: Tree, named: SplitNames | None = None, *, own_validation: bool = False) -> Layout:
    """Find the folders that hold the class folders of each split.

    Args:
        tree: The folders and how many images they hold.
        named: The folders of the splits, from the recipe; all folders in them are then classes.
        own_validation: Whether the validation split is used as such.

    Raises:
        DataError: The layout is unknown or ambiguous; the error lists what was found and what to write.
    """
    if named:
        return _named(tree, named)
    top = tree.unwrapped(())
    roles = tree.split_roles(top)
    if not roles and (inner := tree.inner_roles(top)):
        return _splits_in_classes(tree, top, inner, own_validation=own_validation)
    if not roles and (names := splits_in_names(tree.class_names(top))):
        return _splits_in_names(tree, top, names, own_validation=own_validation)
    if not roles:
        aside = tree.unlabelled(top)
        _check_classes(tree, top, aside=aside)
        if own_validation:
            raise no_validation_error("class folders without splits", str(Path(tree.root, *top)))
        notes = [f"the class folders are in {_text(top)}/"] if top else []
        for each in aside:
            what, them = plural(tree.total[each], "image"), "it" if tree.total[each] == 1 else "them"
            notes.append(
                f"{_text(each)}/ is not read: {what} without a class; `convsmith predict` takes {them}"
            )
        left_out = {PurePosixPath(*each): _reason(tree, each, "test") for each in aside}
        return Layout(folders={"train": PurePosixPath(*top)}, notes=tuple(notes), left_out=left_out)
    if "train" not in roles.values():
        raise _no_training_set(tree, top, roles)
    sizes = {_text(each): tree.total[each] for each in roles}
    chosen = choose_splits(
        {_text(each): role for each, role in roles.items()}, sizes, tree.root, own_validation=own_validation
    )
    folders = {name: tuple(text.split("/")) for name, text in chosen.by_role().items()}
    used = {name: tree.unwrapped(folder, is_split=True) for name, folder in folders.items()}
    for name, folder in used.items():
        _check_classes(tree, folder, name, used)
    left_out = {
        PurePosixPath(*each): _reason(tree, each, roles.get(each))
        for each in tree.children(top)
        if each not in folders.values() and (tree.total[each] or role_of(each[-1]))
    }
    return Layout(
        folders={name: PurePosixPath(*folder) for name, folder in used.items()},
        test_is_validation=chosen.test_is_validation,
        notes=tuple(_split_notes(used, chosen.test_is_validation)),
        left_out=left_out,
    )


def _splits_in_classes(tree: Tree, top: Parts, roles: Mapping[str, Role], *, own_validation: bool) -> Layout:
    sizes = Counter[str]()
    for name in tree.children(top):
        sizes.update({each[-1]: tree.total[each] for each in tree.children(name)})
    splits = {name: role for name, role in roles.items() if role != "aside"}
    for one, count in Counter(splits.values()).items():
        if count > 1:
            found = ", ".join(f"{name} ({sizes[name]:,} images)" for name in splits if splits[name] == one)
            what = f"found {count} {one} splits in the class folders: {found}"
            raise _error(tree, top, what, "give the folders of one split one name, or move the others away")
    chosen = choose_splits(splits, sizes, tree.root, own_validation=own_validation)
    used = chosen.by_role()
    return Layout(
        folders=dict.fromkeys(used, PurePosixPath(*top)),
        inner=used,
        test_is_validation=chosen.test_is_validation,
        notes=(
            "the splits are in the class folders: "
            + ", ".join(f"{split} from <class>/{name}/" for split, name in used.items()),
            *([VALIDATION_NOTE.format(f"<class>/{used['test']}/")] if chosen.test_is_validation else ()),
        ),
        left_out={
            PurePosixPath(*each): f"in <class>/{each[-1]}/: " + (_UNUSED if role == "validation" else "aside")
            for folder in tree.children(top)
            for each in tree.children(folder)
            if each[-1] not in used.values() and (role := roles.get(each[-1]))
        },
    )


def _splits_in_names(
    tree: Tree, top: Parts, names: Mapping[str, tuple[str, Role]], *, own_validation: bool
) -> Layout:
    sizes = Counter[str]()
    folders: dict[str, dict[str, str]] = {}
    for name, (label, role) in names.items():
        sizes[role] += tree.total[(*top, name)]
        folders.setdefault(role, {})[name] = label
    roles: dict[str, Role] = {role: role for _, role in names.values()}
    chosen = choose_splits(roles, sizes, tree.root, own_validation=own_validation)
    used = {split: folders[role] for split, role in chosen.by_role().items()}
    places = "; ".join(f"{split} from {_listed([f'{each}/' for each in used[split]])}" for split in used)
    return Layout(
        folders=dict.fromkeys(used, PurePosixPath(*top)),
        classes=used,
        test_is_validation=chosen.test_is_validation,
        notes=(
            f"the splits are in the names of the class folders: {places}",
            f"{_name('train', top)} makes all of these folders classes",
        ),
        left_out={
            PurePosixPath(*top, name): f"in {_text((*top, name))}/: {_UNUSED}"
            for name in names
            if not any(name in each for each in used.values())
        },
    )


def _named(tree: Tree, named: SplitNames) -> Layout:
    folders = {name: PurePosixPath(text) for name, text in named.by_role().items()}
    for name, folder in folders.items():
        parts = folder.parts
        if folder.is_absolute() or ".." in parts or not tree.total[parts]:
            found = [_text(each) for each in tree.children(()) if tree.total[each]]
            raise DataError(
                f"found no images in {str(folder)!r} below {tree.root}",
                where=f"data.splits.{name}",
                fix=f"name a folder relative to the source; it has {_listed(found) or 'none'}",
            )
        if not tree.children(parts):
            raise _error(tree, parts, "found no class folders", LAYOUT_HINT)
    inside = set(folders.values())
    for one, other in combinations(folders, 2):
        if _are_nested(folders[one], folders[other]):
            raise overlap_error(named, one, other)
    left_out = {
        PurePosixPath(*each): "not named in data.splits"
        for each in tree.children(())
        if not any(PurePosixPath(*each) == one or PurePosixPath(*each) in one.parents for one in inside)
        and PurePosixPath() not in inside
    }
    return Layout(folders=folders, left_out=left_out)


def _are_nested(one: PurePosixPath, other: PurePosixPath) -> bool:
    return one.is_relative_to(other) or other.is_relative_to(one)


def _no_training_set(tree: Tree, top: Parts, roles: Mapping[Parts, Role]) -> DataError:
    found = ", ".join(f"{_text(each)} ({plural(tree.total[each], 'image')})" for each in roles)
    others = [each for each in tree.children(top) if tree.total[each] and each not in roles]
    fixes = [fix for each in others if (fix := _splits_fix(tree, each))]
    if not fixes and others:
        test = next(each for role in ("test", "validation") for each in roles if roles[each] == role)
        fixes = [_names({"train": tree.unwrapped(others[0]), "test": tree.unwrapped(test, is_split=True)})]
    return _error(
        tree,
        top,
        f"found the splits {found}, expected one named train",
        f"name the splits, for example {fixes[0]}" if fixes else f"add a training set; {LAYOUT_HINT}",
    )


def _check_classes(
    tree: Tree,
    parent: Parts,
    split: str | None = None,
    used: Mapping[str, Parts] | None = None,
    aside: Collection[Parts] = (),
) -> None:
    """Raise DataError unless the sub-folders of a folder, which may be one of `used`, are classes.

    Those of `aside` are not read.
    """
    used = used or {"train": parent}
    children = [each for each in tree.children(parent) if each not in aside]
    tables = [_text(each) for each in tree.tables()]
    fix = _table_fix(tables) or LAYOUT_HINT
    if not children:
        raise _error(tree, parent, f"found no class folders{_beside(tables)}", fix)
    nested = [each for each in children if tree.holds_only_folders(each)]
    if nested:
        # No example takes a test set for training.
        example = min(nested, key=lambda each: role_of(each[-1]) in {"test", "validation"})
        inner = [each[-1] for each in tree.children(example)]
        raise _error(
            tree,
            parent,
            f"{_listed([each[-1] for each in nested])} hold only folders ({_listed(inner)}), so no class",
            _nested_fix(tree, example, split, used),
        )
    bins = [each for each in children if tree.direct[each]]
    odd = [each[-1] for each in bins if _is_no_class(each[-1], is_split=split is not None)]
    if odd:
        raise _error(
            tree,
            parent,
            f"{_listed(odd)}{_beside(tables)}: images in no class folders; the name is that of no class",
            _table_fix(tables) or _odd_fix(split, used),
        )
    if len({role_of(each[-1]) for each in bins} & {"train", "test", "validation"}) > 1:
        raise _error(
            tree,
            parent,
            f"the names {_listed([each[-1] for each in bins])} are those of classes and of splits",
            f"put them into splits, or, if all are classes: {_name('train', parent)}; {LAYOUT_HINT}",
        )
    if len(bins) == 1 and len(children) == 1 and split in {None, "train"}:
        what = f"found one class, {bins[0][-1]!r}{_beside(tables)}, expected at least two"
        raise _error(tree, parent, what, fix)


def _odd_fix(split: str | None, used: Mapping[str, Parts]) -> str:
    if split in {"validation", "test"}:
        return f"move it away, or name the training set alone: {_name('train', used['train'])}; {LAYOUT_HINT}"
    return f"move it away, or, if all are classes: {_names(used)}; {LAYOUT_HINT}"


def _nested_fix(tree: Tree, folder: Parts, split: str | None, used: Mapping[str, Parts]) -> str:
    if split:
        return f"if all are classes: {_names(used)}; {LAYOUT_HINT}"
    if fix := _splits_fix(tree, folder):
        return f"name the splits, for example {fix}; {LAYOUT_HINT}"
    if any(role_of(each[-1]) == "train" for each in tree.children(folder)):
        return f"put the same splits into every class, or the classes into the splits; {LAYOUT_HINT}"
    return (
        f"name the training set, for example {_name('train', folder)}; "
        f"or, if all are classes: {_names(used)}; {LAYOUT_HINT}"
    )


def _splits_fix(tree: Tree, folder: Parts) -> str:
    """Return the names of the first splits with a training set in a folder; empty without any."""
    for each in tree.below(folder):
        first = {role: place for place, role in reversed(tree.split_roles(each).items())}
        if "train" in first:
            test = first.get("test", first.get("validation"))
            return _names({"train": first["train"], **({"test": test} if test else {})})
    return ""


def _names(folders: Mapping[str, Parts]) -> str:
    return " ".join(_name(split, folder) for split, folder in folders.items())


def _name(role: str, folder: Parts) -> str:
    return f'data.splits.{role}="{_text(folder) or "."}"'


def _is_no_class(name: str, *, is_split: bool) -> bool:
    if is_container_name(name):
        return True
    # Within a split, `train` is a vehicle.
    return is_split_name(name) and not (is_split and name.lower() in {"train", "trains"})


def _reason(tree: Tree, folder: Parts, role: Role | None) -> str:
    name = f"in {_text(folder)}/"
    if role == "validation":
        return f"{name}: {_UNUSED}"
    if not tree.total[folder]:
        return f"{name}: it holds no images"
    if role_of(folder[-1]) in {"train", "test", "validation"}:
        return f"{name}: its images are in no class folders"
    return f"{name}: no training, test or validation split by its name"


def _split_notes(used: Mapping[str, Parts], test_is_validation: bool) -> Iterable[str]:
    # A validation split is not used without the setting, so that it is always named.
    usual = all(folder == (name,) for name, folder in used.items()) and "validation" not in used
    if not usual:
        yield "splits by the names of folders: " + ", ".join(
            f"{name} from {_text(folder)}/" for name, folder in used.items()
        )
    if test_is_validation:
        yield VALIDATION_NOTE.format(f"{_text(used['test'])}/")


def _beside(tables: Sequence[str]) -> str:
    return f" beside {_listed(tables)}" if tables else ""


def _table_fix(tables: Sequence[str]) -> str:
    if not tables:
        return ""
    return (
        "no table names these images: write their paths, relative to the source, and labels into one, "
        f"or move the images into one folder per class; {LAYOUT_HINT}"
    )


def _error(tree: Tree, folder: Parts, what: str, fix: str) -> DataError:
    return DataError(what, where=str(Path(tree.root, *folder)), fix=fix)


def _joined(names: Iterable[str]) -> str:
    return " and ".join(names)


def _text(parts: Parts) -> str:
    return "/".join(parts)


def _listed(names: Sequence[str]) -> str:
    return join_first(names, _MAX_LISTED)
