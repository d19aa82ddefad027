"""Transforms as assignments name them, in albumentations 1.x and torchvision: what each is called here.

Nothing is translated in silence: each such name is an error with the line to write instead.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from convsmith.codegen import number
from convsmith.errors import Problem

Table = dict[str, Any]

# What convsmith does without a transform.
_AUTOMATIC = {
    **dict.fromkeys(
        ("Normalize", "ToFloat"),
        "remove it: images are normalised by the mean and the standard deviation of the training set",
    ),
    **dict.fromkeys(("ToTensor", "ToTensorV2", "ToPILImage"), "remove it: images become tensors anyway"),
    "Compose": "write its transforms one after the other",
    "Flip": "write HorizontalFlip and VerticalFlip, each with its p",
    **dict.fromkeys(
        ("AutoAugment", "AugMix"),
        'write { name = "TrivialAugment" }, which has the same operations and nothing to search for',
    ),
    **dict.fromkeys(
        (
            *("Posterize", "Solarize", "Equalize", "AutoContrast", "Sharpen", "RandomPosterize"),
            *("RandomSolarize", "RandomEqualize", "RandomAutocontrast", "RandomAdjustSharpness"),
        ),
        'it is one of the operations of RandAugment: write { name = "RandAugment" }',
    ),
    **dict.fromkeys(
        ("HueSaturationValue", "RGBShift"),
        "write ColorJitter: saturation is a distance from the factor 1, hue a share of the circle",
    ),
    **dict.fromkeys(("MotionBlur", "MedianBlur", "AdvancedBlur"), "write GaussianBlur or Blur"),
}
_SELDOM = "remove it: it has no effect here"
# Fields of albumentations that have no meaning here, and why.
_WITHOUT_MEANING = {
    "always_apply": "remove it: p says how often images are changed",
    "mask_fill_value": "remove it: there are no masks",
    "mask_value": "remove it: there are no masks",
    "fill_mask": "remove it: there are no masks",
    "interpolation": "remove it: it is bilinear",
    "inplace": _SELDOM,
    "mask_interpolation": "remove it: there are no masks",
    "rotate_method": _SELDOM,
    "approximate": _SELDOM,
    "pad_if_needed": _SELDOM,
    "expand": _SELDOM,
    "center": _SELDOM,
}
# Border modes: OpenCV's by number and name, `cv2.BORDER_CONSTANT`, and torchvision's.
_BORDERS = {
    0: "black",
    1: "replicate",
    4: "reflect",
    "constant": "black",
    "edge": "replicate",
    "replicate": "replicate",
    "reflect": "reflect",
    "reflect_101": "reflect",
}


@dataclass
class _Rewriting:
    """A table on its way to the names of today.

    Attributes:
        table: Its fields so far.
        lines: What to write in place of each old field.
        limits: Whether it is a rule of a brief, whose values are limits.
    """

    table: Table
    limits: bool = False
    lines: dict[str, str] = field(default_factory=dict)

    def drop(self, old: str, why: str) -> None:
        if old in self.table:
            del self.table[old]
            self.lines[old] = why

    def replace(self, old: Sequence[str], new: Mapping[str, Any]) -> None:
        """Put new fields in place of old ones, unless the table has them already."""
        present = [name for name in old if name in self.table]
        for name in present:
            del self.table[name]
        missing = {name: value for name, value in new.items() if name not in self.table}
        line = ", ".join(f"{name} = {_toml(value)}" for name, value in missing.items())
        self.lines |= dict.fromkeys(
            present, f"write {line}" if line else f"remove it: {next(iter(new))} says it"
        )
        self.table |= missing

    def rename(self, name: str, fields: Mapping[str, Any]) -> None:
        """Make it a table of another name, with these fields besides those that it keeps."""
        self.table = {**self.table, "name": name, **fields}
        settings = ", ".join(f"{key} = {_toml(value)}" for key, value in self.table.items())
        self.lines = {"name": f"write {{ {settings} }}"}


def current_names(tables: Any, *, where: str, limits: bool = False) -> tuple[Any, list[Problem]]:
    """Return tables of transforms with the names of today, and a problem for each other name.

    Args:
        tables: A list of tables or names; anything else is returned unchanged.
        where: The field that has them, for messages.
        limits: Whether they are rules of a brief, in which `[low, high]` is a limit.

    Example:
        >>> hole = {"name": "CoarseDropout", "max_holes": 1, "max_height": 16, "max_width": 16}
        >>> tables, problems = current_names([hole], where="augment.transforms")
        >>> tables[0]["hole_height_range"], [problem.fix for problem in problems][:2]
        ([16, 16], ['write num_holes_range = [1, 1]', 'write hole_height_range = [16, 16]'])
    """
    if not isinstance(tables, list):
        return tables, []
    # Something harmless stands in for what is to be removed, so that the others keep their positions.
    stand_in = "HorizontalFlip" if limits else {"name": "HorizontalFlip"}
    result: list[Any] = []
    problems: list[Problem] = []
    for index, table in enumerate(tables):
        if isinstance(table, list):
            inner, more = current_names(table, where=f"{where}.{index}", limits=limits)
            result.append(inner)
            problems += more
            continue
        name = table.get("name") if isinstance(table, dict) else table
        place = f"{where}.{index}"
        if isinstance(name, str) and name in _AUTOMATIC:
            problems.append(Problem(what=f"{name} is no transform here", where=place, fix=_AUTOMATIC[name]))
            result.append(stand_in)
        elif name == "PadIfNeeded":
            fix = f"remove it: RandomCrop pads by itself, write padding = {_padding(table, tables)} there"
            problems.append(Problem(what="PadIfNeeded is no transform here", where=place, fix=fix))
            result.append(stand_in)
        elif isinstance(name, str) and name in _REWRITERS:
            rewriting = _rewrite({"name": name} if isinstance(table, str) else table, limits=limits)
            result.append(table if isinstance(table, str) and not rewriting.lines else rewriting.table)
            problems += _problems(name, rewriting, place)
        else:
            result.append(table)
    return result, problems


def _rewrite(table: Table, *, limits: bool) -> _Rewriting:
    rewriting = _Rewriting(dict(table), limits)
    if table.get("always_apply") is True:
        # In albumentations 1.x it overrules p.
        rewriting.table.pop("p", None)
        rewriting.replace(["always_apply"], {"p": 1})
    _REWRITERS[table["name"]](rewriting)
    for old, why in _WITHOUT_MEANING.items():
        rewriting.drop(old, why)
    return rewriting


def _problems(name: str, rewriting: _Rewriting, place: str) -> list[Problem]:
    """Return a problem for each line to write, with the old fields in whose place it is."""
    fields: dict[str, list[str]] = {}
    for old, line in rewriting.lines.items():
        fields.setdefault(line, []).append(old)
    return [_problem(name, old, line, place, rewriting.table) for line, old in fields.items()]


def _problem(name: str, old: list[str], line: str, place: str, table: Table) -> Problem:
    if old == ["name"]:
        return Problem(what=f"{name} has another name here", where=place, fix=line)
    if old[0] in table:
        return Problem(
            what=f"{old[0]} is one number, the same in both directions", where=f"{place}.{old[0]}", fix=line
        )
    names = f"{' and '.join(old)} {'are names' if len(old) > 1 else 'is a name'}"
    return Problem(
        what=f"{names} of other versions of {name}: albumentations 1.x, torchvision",
        where=f"{place}.{old[0]}",
        fix=line,
    )


def _coarse_dropout(it: _Rewriting) -> None:
    for low, high, new in (
        ("min_holes", "max_holes", "num_holes_range"),
        ("min_height", "max_height", "hole_height_range"),
        ("min_width", "max_width", "hole_width_range"),
    ):
        if not {low, high} & it.table.keys():
            continue
        # In albumentations 1.x the maximum is 8 by default, and the minimum is the maximum.
        most = it.table.get(high, max(8, _whole(it.table.get(low)) or 8))
        least = it.table.get(low)
        least = most if least is None else least
        if _whole(most) is None or _whole(least) is None:
            share = next((each for each in (most, least) if isinstance(each, float)), None)
            why = ", whole numbers from 1 on"
            if share is not None:
                why = f" in pixels: {_toml(share)} is a share of the image"
            for name in (low, high):
                it.drop(name, f"write {new} = [low, high]{why}")
            continue
        it.replace([low, high], {new: _range(least, most, it)})
    _fill(it, ("fill_value",))


def _cutout(it: _Rewriting) -> None:
    """`Cutout` of albumentations 1.x: several holes whose centres lie in the image."""
    old = {"num_holes", "max_h_size", "max_w_size", "fill_value"} & it.table.keys()
    if not old - {"fill_value"}:
        _fill(it, ("fill_value",))
        return
    count, height, width = (it.table.get(name, 8) for name in ("num_holes", "max_h_size", "max_w_size"))
    if count == 1 and height == width:
        it.drop("num_holes", "remove it: Cutout has one hole")
        it.replace(["max_h_size", "max_w_size"], {"size": height})
        _fill(it, ("fill_value",))
        return
    _fill(it, ("fill_value",))
    for name in old:
        it.table.pop(name, None)
    ranges = {"num_holes_range": count, "hole_height_range": height, "hole_width_range": width}
    it.rename("CoarseDropout", {name: _range(value, value, it) for name, value in ranges.items()})


def _shift_scale_rotate(it: _Rewriting) -> None:
    for name in ("shift_limit_x", "shift_limit_y"):
        if name in it.table:
            it.replace([name], {"shift_limit": _limit(it.table[name], it)})
    for name in ("shift_limit", "scale_limit", "rotate_limit"):
        value = it.table.get(name)
        if isinstance(value, list | tuple) and not _is_bound(value, it):
            it.table[name] = limit = _limit(value, it)
            low, high = (*value, None, None)[:2]
            other = (
                ""
                if low is not None and high is not None and -low == high
                else ", the same in both directions"
            )
            it.lines[name] = f"write {name} = {_toml(limit)}{other}"
    _border(it)


def _rotate(it: _Rewriting) -> None:
    """`Rotate(limit)` of albumentations and `RandomRotation(degrees)` of torchvision."""
    torchvision = it.table["name"] == "RandomRotation"
    default = 0 if torchvision else 90
    limit = _limit(next((it.table[key] for key in ("limit", "degrees") if key in it.table), default), it)
    for name in ("limit", "degrees"):
        it.table.pop(name, None)
    _border(it, "black" if torchvision else "reflect")
    for name in _WITHOUT_MEANING:
        it.table.pop(name, None)
    fields = {"rotate_limit": limit}
    if not it.limits:
        fields |= {"shift_limit": 0, "scale_limit": 0}
        if torchvision:
            fields |= {"border": it.table.get("border", "black"), "p": 1}
    it.rename("ShiftScaleRotate", fields)


def _random_flip(it: _Rewriting) -> None:
    it.rename("HorizontalFlip", {})


def _random_crop(it: _Rewriting) -> None:
    for name in ("height", "width", "size"):
        it.drop(name, "remove it: the crop has the size of the image; padding says how far it moves")
    # That of torchvision, with a padding, is black by default.
    _border(it, "black")


def _flip_down(it: _Rewriting) -> None:
    it.rename("VerticalFlip", {})


def _color_jitter(it: _Rewriting) -> None:
    """Factors of both libraries are ranges around 1, and turns around 0; here they are distances."""
    for name, middle in (("brightness", 1), ("contrast", 1), ("saturation", 1), ("hue", 0)):
        value = it.table.get(name)
        if isinstance(value, list | tuple) and not _is_bound(value, it):
            distances = [abs(each - middle) for each in value if isinstance(each, int | float)]
            distance = round(max(distances, default=0), 6)
            it.table[name] = distance
            it.lines[name] = f"write {name} = {_toml(distance)}, the same in both directions"


def _erasing(it: _Rewriting) -> None:
    """`RandomErasing` of torchvision and `Erasing` of albumentations; both are black by default."""
    for name in ("value", "fill_value", "fill"):
        value = it.table.get(name)
        if name in it.table and not (name == "fill" and value in {"random", "mean", "black"}):
            noise = isinstance(value, str)
            values = value if isinstance(value, list | tuple) else [value]
            colour = "mean" if any(each != 0 for each in values) else "black"
            del it.table[name]
            it.table["fill"] = "random" if noise else colour
            it.lines[name] = f"write fill = {_toml(it.table['fill'])}"
    if it.table["name"] == "Erasing":
        it.rename("RandomErasing", {"fill": it.table.get("fill", "black")})


def _gaussian_blur(it: _Rewriting) -> None:
    sizes = it.table.get("blur_limit", it.table.get("kernel_size"))
    sigma = it.table.get("sigma", it.table.get("sigma_limit"))
    sigma = sigma if isinstance(sigma, list | tuple) else [sigma, sigma]
    if not all(isinstance(each, int | float) and each > 0 for each in sigma):
        # OpenCV's standard deviation for a size, which albumentations 1.x uses by default.
        low, high = sizes if isinstance(sizes, list | tuple) and len(sizes) == 2 else (3, sizes)
        whole = [max(3, _whole(each) or 7) for each in (low, high)]
        sigma = [round(0.3 * ((size - 1) / 2 - 1) + 0.8, 2) for size in whole]
    names: tuple[str, ...] = ("sigma", "blur_limit", "kernel_size")
    old = [name for name in names if name in it.table]
    if isinstance(it.table.get("sigma_limit"), int | float) and not it.limits:
        old.append("sigma_limit")
    if old:
        for name in {"sigma_limit"} - {*old}:
            it.table.pop(name, None)
        it.replace(old, {"sigma_limit": [*sigma]})


def _blur(it: _Rewriting) -> None:
    size = it.table.get("blur_limit")
    if _whole(size) and not it.limits:
        it.table["blur_limit"] = [3, size]
        it.lines["blur_limit"] = f"write blur_limit = [3, {size}]"


def _rand_augment(it: _Rewriting) -> None:
    """Torchvision's magnitudes are numbers of bins, 31 by default; here they are 0 to 30."""
    bins = _whole(it.table.get("num_magnitude_bins")) or 31
    for old, new in (("num_ops", "num_operations"), ("n", "num_operations"), ("m", "magnitude")):
        if old in it.table:
            it.replace([old], {new: it.table[old]})
    magnitude = it.table.get("magnitude")
    if bins > 1 and bins != 31 and isinstance(magnitude, int):
        it.table["magnitude"] = round(magnitude * 30 / (bins - 1))
        it.lines["magnitude"] = f"write magnitude = {it.table['magnitude']}: it is 0 to 30 here"
    _trivial_augment(it)


def _trivial_augment(it: _Rewriting) -> None:
    it.drop("num_magnitude_bins", "remove it: magnitudes are 0 to 30")
    if "fill" in it.table:
        # torchvision's None is black.
        it.table["fill"] = it.table["fill"] or 0
        _fill(it, ("fill",), "border")
    if it.table["name"] == "TrivialAugmentWide":
        it.rename("TrivialAugment", {})


def _plain(it: _Rewriting) -> None:
    """Only the fields without a meaning change."""


_REWRITERS: dict[str, Callable[[_Rewriting], None]] = {
    "Blur": _blur,
    "CoarseDropout": _coarse_dropout,
    "ColorJitter": _color_jitter,
    "Cutout": _cutout,
    "Erasing": _erasing,
    "GaussianBlur": _gaussian_blur,
    "HorizontalFlip": _plain,
    "RandAugment": _rand_augment,
    "RandomBrightnessContrast": _plain,
    "RandomCrop": _random_crop,
    "RandomErasing": _erasing,
    "RandomHorizontalFlip": _random_flip,
    "RandomRotation": _rotate,
    "RandomVerticalFlip": _flip_down,
    "Rotate": _rotate,
    "SafeRotate": _rotate,
    "ShiftScaleRotate": _shift_scale_rotate,
    "TrivialAugment": _trivial_augment,
    "TrivialAugmentWide": _trivial_augment,
    "VerticalFlip": _plain,
}


def _fill(it: _Rewriting, names: Sequence[str], new: str = "fill") -> None:
    """A colour: black, or else the mean colour of the data set."""
    for name in names:
        if name in it.table:
            value = it.table[name]
            values = value if isinstance(value, list | tuple) else [value]
            it.replace([name], {new: "mean" if any(each != 0 for each in values) else "black"})


def _border(it: _Rewriting, default: str = "reflect") -> None:
    """The border mode of albumentations, and the colour that it has if it is constant."""
    mode = _mode(it.table.get("border_mode", it.table.get("padding_mode"))) or default
    if mode == "black":
        _fill(it, ("value", "fill"), "border")
    for name in ("border_mode", "padding_mode"):
        if name in it.table:
            chosen = it.table.pop("border", mode)
            it.replace([name], {"border": chosen})
    for name in ("value", "fill"):
        it.drop(name, "remove it: the border shows the image")


def _mode(value: Any) -> str | None:
    name = value.lower().removeprefix("cv2.").removeprefix("border_") if isinstance(value, str) else value
    return _BORDERS.get(name) if isinstance(name, int | str) else None


def _padding(table: Any, tables: Sequence[Any]) -> str:
    """Return half of what a `PadIfNeeded` adds to the crop after it, or an example."""
    crops = [each for each in tables if isinstance(each, dict) and each.get("name") == "RandomCrop"]
    size = _whole(crops[0].get("height", crops[0].get("size"))) if crops else None
    padded = _whole(table.get("min_height")) if isinstance(table, dict) else None
    return str((padded - size) // 2) if size and padded and padded > size else "4"


def _range(low: int, high: int, it: _Rewriting) -> Any:
    """Return a range of a recipe, or the limit of a brief, which is one number if it is exact."""
    return low if it.limits and low == high else [low, high]


def _limit(value: Any, it: _Rewriting) -> Any:
    """Return a limit in both directions."""
    if not isinstance(value, list | tuple) or _is_bound(value, it):
        return value
    sizes = [abs(each) for each in value if isinstance(each, int | float)]
    return max(sizes, default=0)


def _is_bound(value: Sequence[Any], it: _Rewriting) -> bool:
    """Whether a pair is a limit of a brief, and no range from left to right."""
    return it.limits and all(isinstance(each, int | float) and each >= 0 for each in value)


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_toml, value))}]"
    return number(value) if isinstance(value, int | float) else f'"{value}"'
