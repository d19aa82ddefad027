"""The command predict."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import convsmith as cs
from convsmith.cli.arguments import AsJson, Data, Device, On, TrainedArgument, TrustCode, Weights, Workers
from convsmith.cli.output import notes_printer, print_error
from convsmith.system import paths

if TYPE_CHECKING:
    from convsmith.models.image_inputs import ImageSources

# A field of a recipe among the images.
_FIELD = re.compile(r"(data|model|train|augment|brief)\.[\w.]+=")

_Images = Annotated[
    list[str],
    typer.Argument(
        metavar="IMAGES...",
        help="files, folders, archives, parquet files, patterns, http(s) addresses, or - for standard input; "
        "with --weights also fields of data and model, for example data.resize=32",
    ),
]
_TopK = Annotated[int, typer.Option("--top-k", metavar="K", min=1, help="number of top classes")]
_CsvFile = Annotated[Path | None, typer.Option("--csv", metavar="FILE", help="Write one row per image.")]
_JsonlFile = Annotated[
    Path | None, typer.Option("--jsonl", metavar="FILE", help="Write one JSON object per line and image.")
]
_Out = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR", help="Write a folder of tables; the same command goes on after an interruption."
    ),
]
_TableFormat = Annotated[
    str | None,
    typer.Option("--format", metavar="parquet|csv", help="With --out: of the tables, by default parquet."),
]
_PartSize = Annotated[
    int | None, typer.Option(metavar="N", min=1, help="With --out: images per table; by default 16 batches.")
]
_BatchSize = Annotated[int, typer.Option(metavar="N", min=1, max=65_536, help="images per batch")]
_ImageColumn = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="column of parquet files; by default the only one with images"),
]


def predict(
    target: TrainedArgument,
    images: _Images,
    *,
    weights: Weights = None,
    data: Data = None,
    top_k: _TopK = 3,
    csv_file: _CsvFile = None,
    jsonl_file: _JsonlFile = None,
    as_json: AsJson = False,
    out: _Out = None,
    on: On = None,
    workers: Workers = None,
    table_format: _TableFormat = None,
    part_size: _PartSize = None,
    batch_size: _BatchSize = 256,
    image_column: _ImageColumn = None,
    device: Device = None,
    trust_code: TrustCode = False,
) -> None:
    """Classify images with a trained model; exit with code 1 if an image is unreadable."""
    from convsmith.cli.predictions import check_tables, print_predictions, print_tables
    from convsmith.models.arguments import ModelArguments

    overrides = [each for each in images if weights and _FIELD.match(each)]
    images = [each for each in images if each not in overrides]
    tables = {"--on": on, "--workers": workers, "--format": table_format, "--part-size": part_size}
    check_tables(out, tables, {"--csv": csv_file, "--jsonl": jsonl_file})
    model: dict[str, Any] = {"weights": weights, "data": data, "device": device, "trust_code": trust_code}
    model["log"] = notes_printer()
    if out:
        rows: dict[str, Any] = {"top_k": top_k, "batch_size": batch_size, "part_size": part_size}
        rows |= {"table_format": table_format or "parquet", "image_column": image_column}
        record = cs.predict_many(target, images, out, *overrides, on=on, workers=workers, **rows, **model)
        is_readable = print_tables(record, out, as_json=as_json)
    else:
        items = _sources(
            images,
            image_column,
            outputs=[each for each in (csv_file, jsonl_file) if each],
            inputs=ModelArguments.of(target, weights, data, overrides).files,
        )
        classifier = cs.load(target, *overrides, **model)
        results = classifier.classify(items, top_k=top_k, batch_size=batch_size)
        is_readable = print_predictions(
            results, len(items), csv_file=csv_file, jsonl_file=jsonl_file, as_json=as_json
        )
    if not is_readable:
        raise typer.Exit(1)


def _sources(
    images: list[str], column: str | None, *, outputs: list[Path], inputs: Sequence[Path]
) -> "ImageSources":
    """Return the images, after a look whether an output is one of them or of the model's files."""
    from convsmith.models.image_inputs import image_sources

    left_out: list[str] = []
    items = image_sources(images, left_out.append, column)
    paths.check_outputs(outputs, [*items.files, *inputs])
    for sentence in left_out:
        print_error(sentence)
    return items
