"""Arguments and options that several commands share."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import convsmith as cs

if TYPE_CHECKING:
    from convsmith.models.model import Model
    from convsmith.models.resolve import Preference

RecipeArgument = Annotated[
    str, typer.Argument(metavar="RECIPE", help="name of a recipe (see `convsmith recipes`), or a TOML file")
]
TargetArgument = Annotated[
    str,
    typer.Argument(
        metavar="NET|NAME|FILE.py:CLASS|RUN|BUNDLE",
        help="notation, name or TOML file of a recipe, zoo model, module in a file, or the folder of a run "
        "or a bundle",
    ),
]
InputShape = Annotated[
    list[str] | None,
    typer.Option(
        "--input",
        metavar="[NAME=]CxHxW[:DTYPE]",
        help="shape of one image; by default that of the recipe's data. For a module also other inputs, one "
        "option each: --input 3x32x32 --input 16:int64 --input mask=1x32x32",
    ),
]
AsMarkdown = Annotated[bool, typer.Option("--markdown", help="Print Markdown, for a README.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="[KEY=VALUE]...", help="fields of the recipe, for example train.epochs=5 seed=3"),
]
TrainedArgument = Annotated[
    str, typer.Argument(metavar="NAME|BUNDLE|RUN", help="a zoo model, or the folder of a bundle or a run")
]
Device = Annotated[
    str | None, typer.Option(metavar="DEVICE", help="cpu, cuda, mps or auto; by default the CPU")
]
Refresh = Annotated[
    bool, typer.Option("--refresh", help="Decode the images again, even if the cache has them.")
]
Processes = Annotated[
    int | None,
    typer.Option(
        "--processes",
        metavar="N",
        min=1,
        max=1024,
        help="processes on this machine that share the training; the weights do not depend on their number",
    ),
]
On = Annotated[
    str | None,
    typer.Option(
        "--on",
        metavar="ENGINE",
        help="where the work is shared out: loky (processes of this machine), dask://HOST:PORT, ray://HOST:PORT",
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(
        "--workers",
        metavar="N",
        min=1,
        max=10_000,
        help="how much runs at once; by default one for each core of the machine or cluster",
    ),
]
Storage = Annotated[
    str | None,
    typer.Option(
        "--storage",
        metavar="URL",
        help="where the trials are kept: sqlite:///FILE, postgresql://USER@HOST/DATABASE, mysql://... or "
        "grpc://HOST:PORT; by default in the folder of the search",
    ),
]
RunArgument = Annotated[Path, typer.Argument(metavar="RUN", help="a run folder")]
RunOrNet = Annotated[
    str,
    typer.Argument(
        metavar="RUN|NET",
        help="a run folder; with --weights a module such as model.py:Net, notation, or a recipe",
    ),
]
Weights = Annotated[
    Path | None,
    typer.Option(
        "--weights",
        metavar="FILE",
        help="weights that were trained elsewhere: safetensors, or of torch.save; net.pth#ema chooses one",
    ),
]
Data = Annotated[
    str | None,
    typer.Option(
        "--data", metavar="SOURCE|RECIPE", help="With --weights: the data that they were trained on."
    ),
]
Runs = Annotated[
    Path, typer.Option("--runs", metavar="DIR", help="With --weights: folder for the run folder")
]
WithWeights = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[KEY=VALUE]...", help="With --weights: fields of the recipe, for example data.resize=32"
    ),
]
TensorBoard = Annotated[
    bool,
    typer.Option(
        "--tensorboard", help="Also write curves for TensorBoard; requires the extra `tensorboard`."
    ),
]


TrustCode = Annotated[
    bool,
    typer.Option(
        "--trust-code", help="Run the code of a run or bundle whose net is a module: it can do what you can."
    ),
]
Module = Annotated[
    str | None,
    typer.Option(
        metavar="FILE.py:CLASS", help="a PyTorch module instead of the recipe's net, as model.module=..."
    ),
]


def resolve(
    name: str,
    overrides: list[str] | None,
    input_shape: list[str] | None,
    prefer: "Preference" = "recipe",
    *,
    trust_code: bool = False,
) -> "Model":
    return cs.resolve(
        name, *(overrides or []), input_shape=input_shape or None, prefer=prefer, trust_code=trust_code
    )


def with_module(overrides: list[str] | None, module: str | None) -> list[str]:
    """Return overrides with that of `--module`."""
    return [*(overrides or []), *([f"model.module={module}"] if module else [])]
