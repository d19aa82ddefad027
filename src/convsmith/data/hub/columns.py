"""The columns of tables of images, from the Hugging Face hub or parquet files."""

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from convsmith.data.config import DataConfig
from convsmith.data.images.decode import Encoded, UnusableImageError
from convsmith.data.raw import Source
from convsmith.errors import DataError, suggest

# Names of label columns, which may be of any type.
_LABEL_NAMES = frozenset(
    {"label", "labels", "class", "classes", "class_name", "class_label", "target", "targets", "category", "y"}
)
_MAX_METADATA, _MAX_CLASSES = 16 * 2**20, 1_000_000


def features_of(schema: Any) -> Mapping[str, Any]:
    """Return the features of a parquet file's columns, by name.

    Raises:
        ValueError: The metadata that `datasets` wrote into the file is damaged.
    """
    import datasets
    import pyarrow as pa

    for index, field in enumerate(schema):
        # A text column with few values.
        if pa.types.is_dictionary(field.type):
            schema = schema.set(index, field.with_type(field.type.value_type))
    metadata = (schema.metadata or {}).get(b"huggingface", b"{}")
    try:
        _check_metadata(metadata)
        features = datasets.Features.from_arrow_schema(schema)
    except MemoryError:
        raise
    # The reader of `datasets` trusts this text; wrong types in it raise nearly any exception.
    except Exception as error:
        raise ValueError(f"its huggingface metadata is damaged: {reason_of(error)}") from error
    return dict(features)


def _check_metadata(text: bytes) -> None:
    """Raise ValueError for class lists of the wrong type or an unlimited length."""
    if len(text) > _MAX_METADATA:
        raise ValueError(f"{len(text):,} bytes, expected at most {_MAX_METADATA:,}")
    match json.loads(text):
        case {"info": {"features": dict(features)}}:
            for name, feature in features.items():
                names = feature.get("names") if isinstance(feature, dict) else None
                count = feature.get("num_classes") if isinstance(feature, dict) else None
                if names is not None and not (
                    isinstance(names, list) and all(isinstance(n, str) for n in names)
                ):
                    raise ValueError(f"the class names of {name} are no list of texts")
                if count is not None and not (isinstance(count, int) and 0 <= count <= _MAX_CLASSES):
                    raise ValueError(f"the number of classes of {name} is not from 0 to {_MAX_CLASSES:,}")


def declared_names(feature: Any) -> list[str] | None:
    """Return the class names that a label column declares; None if it declares none."""
    names = getattr(feature, "names", None)
    return list(names) if names else None


def find_columns(features: Mapping[str, Any], source: Source, config: DataConfig) -> tuple[str, str]:
    """Return the names of the image and label column: the configured ones, or the only ones of their type.

    Raises:
        DataError: They are missing or ambiguous.
    """
    image = find_image_column(features, source, config.image_column)
    label = config.label_column or _label_column(features, source)
    _check_exists(label, features, source)
    return image, label


def find_image_column(
    features: Mapping[str, Any], source: Source, name: str | None = None, option: str = "data.image_column="
) -> str:
    """Return the name of the image column: the one that the user names, or the only one of its type.

    Args:
        features: Of the columns, by name.
        source: For errors.
        name: The column, if the user names it.
        option: What a user writes before the name, for errors.

    Raises:
        DataError: It is missing or ambiguous.
    """
    column = name or _only(image_columns(features), "image", features, source, option=option)
    _check_exists(column, features, source)
    return column


def _check_exists(column: str, features: Mapping[str, Any], source: Source) -> None:
    if column not in features:
        raise DataError(
            f"no column {column!r}, found {_describe(features)}",
            where=source.location,
            fix=suggest(column, features),
        )


def label_named(names: Iterable[str]) -> list[str]:
    """Return the columns whose names are those of labels, or have such a word.

    >>> label_named(["id", "Label", "fine_label"]), label_named(["id", "class-id"])
    (['Label'], ['class-id'])
    """
    names = list(names)
    exact = [name for name in names if name.lower() in _LABEL_NAMES]
    return exact or [name for name in names if _LABEL_NAMES & set(re.split(r"[\W_]+", name.lower()))]


def encoded_image(
    cell: Any, named_image: Callable[[str], Encoded | UnusableImageError]
) -> Encoded | UnusableImageError:
    """Return the image of a cell: its bytes, or what the path that it names leads to."""
    if isinstance(cell, dict):
        content, path = cell.get("bytes"), cell.get("path")
        if isinstance(content, bytes):
            return content
        if isinstance(path, str):
            return named_image(path)
    return cell if isinstance(cell, bytes) else None


def reason_of(error: Exception) -> str:
    """Return the first line of an error's text."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def image_columns(features: Mapping[str, Any]) -> list[str]:
    """Return the names of the columns whose type is that of images."""
    import datasets

    return [
        name
        for name, feature in features.items()
        if isinstance(feature, datasets.Image)
        or (isinstance(feature, dict) and {"bytes", "path"} <= set(feature))
    ]


def _label_column(features: Mapping[str, Any], source: Source) -> str:
    """Return the column of labels: by its type, then by its name, then the only one of whole numbers."""
    import datasets

    types = {
        name: dtype for name, feature in features.items() if (dtype := str(getattr(feature, "dtype", "")))
    }
    numbers = [name for name, dtype in types.items() if dtype.startswith(("int", "uint", "bool"))]
    texts = [name for name, dtype in types.items() if dtype in {"string", "large_string"}]
    floats = [name for name, dtype in types.items() if dtype in {"float32", "float64"}]
    classes = [name for name, feature in features.items() if isinstance(feature, datasets.ClassLabel)]
    named = label_named(types)
    if len(named) > 1:
        named = [name for name in numbers if name in named] or named
    names = classes or named
    if not names and not texts:
        names = numbers
    elif not names and numbers:
        # An age or a width beside texts need not be what the images show.
        names = [*numbers, *texts]
    return _only(names, "label", features, source, option="data.label_column=", others=[*texts, *floats])


def _only(
    names: list[str],
    content: str,
    features: Mapping[str, Any],
    source: Source,
    *,
    option: str,
    others: Sequence[str] = (),
) -> str:
    if len(names) == 1:
        return names[0]
    # Image files are not read beside parquet files.
    is_absent = content == "image" and not names
    elsewhere = "; or, to read image files, move the parquet files away" if is_absent else ""
    raise DataError(
        f"{len(names) or 'no'} columns could hold the {content}s, found {_describe(features)}",
        where=source.location,
        fix=f"name it: {option}{next(iter([*names, *others]), 'NAME')}{elsewhere}",
    )


def _describe(features: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} ({type(feature).__name__})" for name, feature in features.items())
