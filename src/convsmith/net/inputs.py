"""The inputs of a net: shapes without the batch, and data types. Nothing here needs torch."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from convsmith.errors import ShapeError
from convsmith.net.rows import Shape

_BYTES = {
    "float32": 4, "float64": 8, "float16": 2, "bfloat16": 2, "int64": 8, "int32": 4, "int16": 2, "int8": 1,
    "uint8": 1, "bool": 1, "complex64": 8,
}  # fmt: skip
_ALIASES = {"float": "float32", "double": "float64", "half": "float16", "long": "int64", "int": "int32"}
_LARGEST = 1 << 24
_LARGEST_IMAGE = 1 << 14
_MOST_AXES = 5
_FIX = "for example --input 3x32x32, 10, 16:int64 or mask=1x32x32"


@dataclass(frozen=True, kw_only=True)
class Input:
    """One input of a net, for one sample.

    Attributes:
        shape: Without the batch; `()` is one value for each sample.
        dtype: Its data type in PyTorch; empty for that of the weights.
        keyword: The argument of `forward`; empty for a positional one.

    Example:
        >>> parse_input("tokens=16:int64")
        Input(shape=(16,), dtype='int64', keyword='tokens')
        >>> print(parse_input("3x32x32"), parse_input("scalar:long").bytes)
        3x32x32 8
    """

    shape: Shape
    dtype: str = ""
    keyword: str = ""

    def __str__(self) -> str:
        keyword = f"{self.keyword}=" if self.keyword else ""
        dtype = f":{self.dtype}" if self.dtype else ""
        return f"{keyword}{'x'.join(map(str, self.shape)) or 'scalar'}{dtype}"

    @property
    def bytes(self) -> int:
        """Of one sample; a value of an unknown type has 4 bytes."""
        return prod(self.shape) * _BYTES.get(self.dtype, 4)


# A shape, a text such as "16:int64", an `Input`, or a list of these.
Inputs = Sequence[int] | str | Input | Sequence[Sequence[int] | str | Input]


def inputs_of(value: Inputs) -> tuple[Input, ...]:
    """Return the inputs that a shape, a text, or a list of these describes.

    Raises:
        ShapeError: A size is not a positive integer, or a text has none of the known forms.

    Example:
        >>> [str(each) for each in inputs_of([(3, 32, 32), "16:int64"])]
        ['3x32x32', '16:int64']
    """
    if isinstance(value, str | Input) or not _is_list(value):
        return (_input_of(value),)
    # A number among shapes is none of them.
    inputs = tuple(_input_of(value if isinstance(each, int) else each) for each in value)
    _check_keywords(inputs)
    return inputs


def _is_list(value: object) -> bool:
    """Whether a sequence holds inputs; the sizes of a shape are numbers."""
    return isinstance(value, list | tuple) and any(
        isinstance(each, str | Input | list | tuple) for each in value
    )


def _input_of(value: object) -> Input:
    if isinstance(value, str):
        return parse_input(value)
    return value if isinstance(value, Input) else Input(shape=_shape(value))


def _shape(value: object) -> Shape:
    sizes = tuple(value) if isinstance(value, Sequence) else (value,)
    if not sizes or len(sizes) > _MOST_AXES or not all(map(_is_size, sizes)):
        raise ShapeError(
            f"found {value!r}, expected the sizes of one image without the batch, all at least 1",
            where="input",
            fix="for example (3, 32, 32), or args=(x, y) for tensors",
        )
    return tuple(int(size) for size in sizes)


def _is_size(size: object) -> bool:
    # NumPy's integers are sizes too, and True is none.
    return hasattr(size, "__index__") and not isinstance(size, bool) and 1 <= int(size) <= _LARGEST


def parse_input(text: str) -> Input:
    """Parse `[keyword=]SIZExSIZE...[:dtype]`; `scalar` is one value for each sample.

    Raises:
        ShapeError: The text has another form.
    """
    head, _, dtype = text.strip().partition(":")
    keyword, equals, sizes = head.rpartition("=")
    parts = [] if sizes == "scalar" else sizes.lower().split("x")
    dtype = _ALIASES.get(dtype, dtype)
    if (
        bool(equals) == keyword.isidentifier()
        and len(parts) <= _MOST_AXES
        and all(part.isascii() and part.isdigit() and 1 <= int(part[:9]) <= _LARGEST for part in parts)
        and (dtype in _BYTES or (not dtype and ":" not in text))
    ):
        return Input(shape=tuple(map(int, parts)), dtype=dtype, keyword=keyword)
    if dtype and dtype not in _BYTES:
        raise ShapeError(
            f"unknown data type {dtype!r}", where="input", fix=f"choose from {', '.join(_BYTES)}"
        )
    raise ShapeError(f"found {text!r}, expected channels x height x width", where="input", fix=_FIX)


def _check_keywords(inputs: tuple[Input, ...]) -> None:
    keywords = [each.keyword for each in inputs if each.keyword]
    repeated = next((each for each in keywords if keywords.count(each) > 1), None)
    if repeated or not inputs:
        raise ShapeError(
            f"the input {repeated!r} is given twice" if repeated else "found no input",
            where="input",
            fix="give each input once",
        )


def image_shape(inputs: tuple[Input, ...]) -> tuple[int, int, int]:
    """Return the one image that a net in the notation takes.

    Raises:
        ShapeError: There are several inputs, or it is no image.
    """
    (first, *others) = inputs
    if others or first.dtype or first.keyword or len(first.shape) != 3:
        raise ShapeError(
            f"found {' and '.join(repr(str(each)) for each in inputs)}, "
            "expected one image: channels x height x width",
            where="input",
            fix="for example --input 3x32x32; a module of your own, model.py:Net, takes other inputs too",
        )
    if max(first.shape) > _LARGEST_IMAGE:
        raise ShapeError(f"found {first}, expected at most {_LARGEST_IMAGE} along each axis", where="input")
    if is_channels_last(first.shape):
        raise ShapeError(
            f"found {first}, which looks like height x width x channels; expected channels x height x width",
            where="input",
            fix=f"write --input {channels_first(first.shape)}",
        )
    channels, height, width = first.shape
    return channels, height, width


def is_channels_last(shape: Shape) -> bool:
    """Whether a shape looks like height x width x channels by mistake.

    >>> is_channels_last((32, 32, 3)), is_channels_last((224, 320, 1)), is_channels_last((64, 4, 4))
    (True, True, False)
    """
    if len(shape) != 3:
        return False
    height, width, channels = shape
    return channels in {1, 3, 4} and min(height, width) >= 8 and max(height, width) <= 4 * min(height, width)


def channels_first(shape: Shape) -> str:
    *sizes, channels = shape
    return "x".join(map(str, (channels, *sizes)))
