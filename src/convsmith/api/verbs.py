"""What the command line can do, as Python functions of the same names.

Heavy libraries are imported inside the functions, so that a summary needs no torch.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convsmith.errors import RunError, UsageError, suggest
from convsmith.net.analysis import Analysis
from convsmith.net.arithmetic import analyze_notation
from convsmith.net.notation import parse
from convsmith.net.settings import NetSettings

if TYPE_CHECKING:
    from torch import nn

    from convsmith.briefs.checks import Brief, Check, Trained
    from convsmith.data.issues import Verification
    from convsmith.evaluation.receptive_field import EffectiveReceptiveField
    from convsmith.exporters.parity import Parity
    from convsmith.models.classifier import Classifier, Prediction
    from convsmith.models.image_inputs import Given
    from convsmith.models.resolve import Target
    from convsmith.nas.search import SearchResult
    from convsmith.recipes.schema import Recipe
    from convsmith.reports.comparison import Comparison
    from convsmith.reports.report import Result
    from convsmith.runs.progress import RunProgress
    from convsmith.training.lr_find import RangeTest
    from convsmith.training.profiler import Profile
    from convsmith.training.trainer import Callback


def list_recipes() -> "tuple[Recipe, ...]":
    """The recipes that ship with convsmith.

    Example:
        >>> [recipe.name for recipe in list_recipes() if recipe.data.source == "mnist"]
        ['mnist-10k', 'mnist-42k', 'mnist-5k', 'mnist-classic']
    """
    from convsmith.recipes.loader import load, recipe_names

    return tuple(load(name) for name in recipe_names())


def load_recipe(name: str, *overrides: str) -> "Recipe":
    """Read a recipe from the shelf or from a TOML file, with fields overridden as `key=value`.

    Raises:
        RecipeError: With every mistake at once.
        FileError: The file cannot be read, or is not TOML.

    Example:
        >>> load_recipe("digits", "train.epochs=3").train.epochs
        3
    """
    from convsmith.recipes.loader import load

    return load(name, overrides)


def summary(
    net: "str | nn.Module", input_shape: tuple[int, ...], settings: NetSettings | None = None
) -> Analysis:
    """Work out the numbers of a net: of the notation by arithmetic, without torch; of a module by tracing it.

    Args:
        net: In the notation, or any `torch.nn.Module`, which is left exactly as it was.
        input_shape: `(C, H, W)` of one image.
        settings: Bias, norm, activation, dropout, ... of a net in the notation; the defaults where left out.

    Raises:
        NotationError: The notation cannot be read.
        ShapeError: The layers do not fit.
        ModuleError: The module's forward pass fails, or chooses its way by the image's values.

    Example:
        >>> facts = summary("C16 C16:s2 / G F10", (3, 32, 32))
        >>> facts.parameters, facts.receptive_field
        (2970, 5)
        >>> from torch import nn
        >>> summary(nn.Conv2d(3, 8, 5), (3, 32, 32)).macs
        470400
    """
    if isinstance(net, str):
        return analyze_notation(net, input_shape, settings)
    from convsmith.tracing.trace import trace

    return trace(net, input_shape)


def format_net(net: str) -> str:
    """A net in the notation's canonical form, which means the same and does not change when formatted again.

    Raises:
        NotationError: The notation cannot be read.

    Example:
        >>> format_net("C16:s1  C32:k3:s2/G F10")
        'C16 C32:s2 / G F10'
    """
    return str(parse(net))


def check(
    subject: "Recipe | Analysis",
    *,
    brief: "str | Brief | None" = None,
    trained: "Trained | None" = None,
) -> "tuple[Check, ...]":
    """Judge a net by a brief.

    Args:
        subject: A recipe from `load_recipe`, or the numbers of a net from `summary`.
        brief: The name or file of a brief, or a brief; the recipe's own if left out.
        trained: A run's accuracy and calibration where they are known; else those checks are not applicable.

    Raises:
        RecipeError: No such brief, or the recipe's net does not fit its data.

    Example:
        >>> sorted({check.verdict for check in check(load_recipe("digits"))})
        ['not applicable', 'pass']
        >>> [point.title for point in check(summary("C64 M2 / F10", (3, 32, 32)), brief="course-cifar10")
        ...  if point.verdict == "pass"]
        ['parameters']
    """
    from convsmith.briefs.checks import Brief
    from convsmith.briefs.loader import load_brief
    from convsmith.models.resolve import Target, of_recipe

    wanted = load_brief(brief) if isinstance(brief, str) else brief
    if isinstance(subject, Analysis):
        return Target(name=subject.title, analysis=subject, trained=trained).judge(wanted or Brief())
    return replace(of_recipe(subject), trained=trained).judge(wanted)


def preview(recipe: "Recipe", folder: Path) -> tuple[Path, ...]:
    """Draw sample images, and augmented ones as the net will see them.

    Returns:
        The pictures' paths in `folder`, which is made where it is missing.
    """
    from convsmith.recipes.session import prepare
    from convsmith.reports.samples import augmented_samples, data_pictures
    from convsmith.system import files

    files.check_destination(folder)
    prepared = prepare(recipe)
    files.make_folder(folder)
    augmented = augmented_samples(prepared.recipe, prepared.data)
    pictures = data_pictures(prepared.recipe, prepared.data, augmented, folder)
    return tuple(picture.file for picture in pictures)


def verify_data(name: str, *overrides: str) -> "Verification":
    """Decode every image of a data set as a training would, and tell all that is wrong. Nothing is changed.

    Args:
        name: A recipe's name or TOML file, or what `data.source` may be: a name, a folder, `owner/name`.
        overrides: Fields of the recipe, or of its `[data]` table, as `key=value`.

    Raises:
        DataError: There is no such data set, or nothing of it can be read.

    Example:
        >>> found = verify_data("digits")
        >>> found.clean, found.findings
        (True, ())
    """
    from convsmith.data.verify import verify
    from convsmith.recipes.loader import load_data

    return verify(load_data(name, overrides))


def train(
    recipe: "Recipe",
    *,
    runs: Path = Path("runs"),
    callbacks: "Sequence[Callback]" = (),
    profile: "Profile | None" = None,
    tensorboard: bool = False,
) -> "Result":
    """Train a recipe, evaluate it, and leave a run folder with report, pictures, weights and log.

    Args:
        recipe: From `load_recipe`.
        runs: The folder that the run's folder is made in, as `<recipe>-<number>`.
        callbacks: Told of every batch and epoch, beside the run folder's own.
        profile: Collects where the time goes, which profile.txt in the folder then says.
        tensorboard: Also write curves for TensorBoard, into `tensorboard/` of the folder.

    Raises:
        MissingExtraError: TensorBoard is not installed, and its curves are asked for.
        RecipeError: The net does not fit the data.
        DataError: The data set cannot be found or read.
        FileError: The folder cannot be written to, or its disk has not enough space.
        DivergedError: A loss is not finite.
        OutOfMemoryError: A batch does not fit; the error names a size to try.
        StoppedError: Ctrl-C or SIGTERM; the state is saved, and `resume` goes on from it.
    """
    from convsmith.api.train import train_new
    from convsmith.recipes.session import prepare
    from convsmith.system import files

    # Before data is read, which can take minutes.
    files.check_destination(runs)
    with _curves(wanted=tensorboard) as curves:
        return train_new(prepare(recipe), runs, (*curves, *callbacks), profile)


def resume(
    run: Path,
    *,
    epochs: int | None = None,
    accept_changes: bool = False,
    callbacks: "Sequence[Callback]" = (),
    tensorboard: bool = False,
) -> "Result":
    """Go on with a run that was interrupted, or train a finished one for longer.

    On the same machine with the same number of threads the weights come out as if it had never stopped.

    Args:
        run: The run's folder.
        epochs: How many in all. Above the number that the schedule was planned for, it is planned anew for
            all of them, and goes on from where it then is.
        accept_changes: Go on although recipe, data, machine or versions differ; the run records what does.
        callbacks: Told of every batch and epoch, beside the run folder's own.
        tensorboard: Write curves for TensorBoard; a run that has them goes on with them in any case.

    Raises:
        MissingExtraError: TensorBoard is not installed, and its curves are to be written.
        RunError: No such run, a damaged one, one that is complete, or something differs.
        FileError: Another process works in the folder.
        DivergedError: A loss is not finite.
        StoppedError: Ctrl-C or SIGTERM; the state is saved.
    """
    from convsmith.api import train as workflow

    with _curves(wanted=tensorboard or (run / "tensorboard").is_dir()) as curves:
        watching = (*curves, *callbacks)
        return workflow.resume(run, epochs=epochs, accept_changes=accept_changes, callbacks=watching)


@contextmanager
def _curves(*, wanted: bool) -> "Iterator[tuple[Callback, ...]]":
    """The observer that writes for TensorBoard, where it is wanted."""
    if not wanted:
        yield ()
        return
    from convsmith.runs.tensorboard import TensorBoardWriter

    with closing(TensorBoardWriter()) as writer:
        yield (writer,)


def evaluate(
    run: Path, *, robustness: bool = False, duplicates: bool = False, label_errors: bool = False
) -> "Result":
    """Score a run's weights on its training and test images, and write pictures and report anew.

    Args:
        run: Its folder.
        robustness: Also score spoiled test images: six corruptions at five strengths.
        duplicates: Also look for test images that the training set nearly has.
        label_errors: Also look for test labels that are probably wrong; needs cleanlab.

    Raises:
        RunError: No such run, a damaged one, or its data set has changed.
        MissingExtraError: cleanlab is not installed, and label errors are asked for.
    """
    from convsmith.api.analyses import analyse
    from convsmith.api.evaluation import ask, finished
    from convsmith.recipes.session import open_run
    from convsmith.runs.folder import RunFolder

    with RunFolder.held(run):
        folder, prepared = open_run(run)
        with prepared.threads():
            asked = ask(folder, prepared)
            analyse(
                folder,
                prepared,
                asked.test,
                robustness=robustness,
                duplicates=duplicates,
                label_errors=label_errors,
            )
            return finished(folder, prepared, asked, lambda _: None)


def report(run: Path) -> "Result":
    """Make a run's pictures and pages again from its saved predictions; its net is not needed.

    Raises:
        RunError: No such run, one without predictions, or its data set has changed.
    """
    from convsmith.recipes.session import open_run
    from convsmith.reports.report import metrics_for, saved
    from convsmith.reports.report import report as make_report
    from convsmith.runs.folder import RunFolder

    with RunFolder.held(run):
        folder, prepared = open_run(run)
        train, found = saved(folder, prepared)
        facts = metrics_for(prepared, found)
        return make_report(folder, prepared, train=train, found=found, facts=facts)


def results(run: Path) -> dict[str, Any]:
    """All facts that a run's folder holds, as plain tables: those of results.json and of further analyses.

    Raises:
        RunError: No such run, or one that was not evaluated.
    """
    from convsmith.runs.folder import RunFolder

    folder = RunFolder.open(run)
    found = folder.record("results.json")
    if found is None:
        raise RunError("the run was not evaluated", where=str(run), fix=f"convsmith evaluate {run}")
    names = ("robustness", "duplicates", "label_errors")
    return {**found, **{name: record for name in names if (record := folder.record(f"{name}.json"))}}


def compare(runs: Sequence[Path], out: Path = Path("comparison")) -> "Comparison":
    """Compare runs by their saved predictions: table, groups, what differs, curves, pairs.

    Args:
        runs: The folders of at least two runs.
        out: Where compare.html, compare.md and compare.json go.

    Raises:
        RunError: A run is missing, damaged or was not evaluated, or there are fewer than two.
    """
    from convsmith.reports.comparison import compare as compare_runs
    from convsmith.system import files

    files.check_destination(out)
    return compare_runs(runs, out)


def lr_find(recipe: "Recipe", folder: Path, *, steps: int = 200) -> "RangeTest":
    """Find a learning rate: train a fresh net while the rate grows, and see where the loss falls.

    Args:
        recipe: From `load_recipe`; its batch size and optimiser count, its schedule does not.
        folder: Where lr-find.png and lr-find.csv go; made where it is missing.
        steps: Of the test, at least 20.

    Raises:
        RecipeError: The net does not fit the data, or there are too few steps.
        DataError: The data set cannot be found or read.
    """
    from convsmith.api.lr_find import lr_find as find
    from convsmith.system import files

    files.check_destination(folder)
    return find(recipe, folder, steps=steps)


def progress(run: Path) -> "RunProgress":
    """How far a run is, that may be trained by another process now.

    Raises:
        RunError: The folder holds no run.
    """
    from convsmith.runs.progress import progress as read

    return read(run)


def search(
    brief: str,
    recipe: "Recipe",
    *,
    trials: int | None = None,
    minutes: float | None = None,
    epochs: int = 5,
    study: Path = Path("study"),
    seed: int = 0,
    factor: int = 3,
    macs_factor: float = 1.5,
    tell: "Callable[[str], None]" = lambda _: None,
) -> "SearchResult":
    """Search for better nets under a brief, around a recipe, by accuracy on held-out training images.

    Args:
        brief: A name on the shelf, or a file.
        recipe: The starting point, from `load_recipe`; it is trial 0.
        trials: How many in all; one hour is searched where neither this nor `minutes` is given.
        minutes: How long.
        epochs: Of a candidate's whole training.
        study: The folder of the search; one that was begun goes on, and several processes may share it.
        seed: Of what is tried.
        factor: One trial in so many goes on from a rung, for so many times the epochs.
        macs_factor: No candidate takes more than so many times the starting point's MACs, unless the brief
            has a limit of its own.
        tell: Takes a line for each trial that comes to a rung.

    Raises:
        MissingExtraError: Optuna is not installed.
        RecipeError: No such brief, the recipe does not fit its data, or nothing near it passes the brief.
        RunError: The study was begun with other settings.
        DataError: The data set cannot be found or read.
        StoppedError: Ctrl-C or SIGTERM; all that was done is kept.
    """
    from convsmith.briefs.loader import load_brief
    from convsmith.errors import MissingExtraError
    from convsmith.nas.settings import Settings, check_numbers

    try:
        from convsmith.nas.search import search as run
    except ModuleNotFoundError as error:
        if error.name != "optuna":
            raise
        raise MissingExtraError(
            "a search needs Optuna, which is not installed",
            where="convsmith search",
            fix="pip install 'convsmith[search]'",
        ) from error
    check_numbers(epochs=epochs, factor=factor, macs_factor=macs_factor, trials=trials, minutes=minutes)
    settings = Settings(
        recipe=recipe,
        brief=load_brief(brief),
        brief_name=brief,
        epochs=epochs,
        factor=factor,
        macs_factor=macs_factor,
        seed=seed,
    )
    length = 60.0 if trials is None and minutes is None else minutes
    return run(settings, study, trials=trials, minutes=length, tell=tell)


def load_target(text: str, *overrides: str, input_shape: tuple[int, int, int] | None = None) -> "Target":
    """Find a net by what names it, notation, a recipe, a run or a bundle; for `export`, `draw` and the like.

    Args:
        text: A net in the notation, a recipe's name or file, or the folder of a run or a bundle.
        overrides: Settings of the net, or fields of the recipe, as `key=value`.
        input_shape: `(C, H, W)` of one image; that of a recipe's data if left out.

    Raises:
        ConvsmithError: Nothing of that name, or its layers do not fit.

    Example:
        >>> load_target("mnist-classic").analysis.parameters
        593200
    """
    from convsmith.models.resolve import find

    return find(text, overrides, input_shape)


def export(target: "Target", folder: Path, *, replace: bool = False) -> tuple[Path, ...]:
    """Write a net as one plain PyTorch file, `model.py`, and a run's or a bundle's weights beside it.

    Args:
        target: From `load_target`.
        folder: Is made where it is missing.
        replace: Whether other files of these names may be replaced.

    Returns:
        The paths of what was written.

    Raises:
        FileError: A different file is there already.
        RunError: The run's weights are damaged.
        BundleError: The bundle is damaged.
    """
    from convsmith.exporters.code import contents
    from convsmith.system import files

    written = contents(target)
    files.write_new({folder / name: content for name, content in written.items()}, replace=replace)
    return tuple(folder / name for name in written)


def explain_error(code: str) -> str:
    """The section of docs/errors.md on the code of an error: what happened, why, how to mend it, an example.

    Args:
        code: For example "E021"; capitals or not.

    Raises:
        UsageError: No such code.

    Example:
        >>> explain_error("E021").splitlines()[0]
        '## E021: layers that do not fit'
    """
    page = (resources.files("convsmith.library") / "errors.md").read_text("utf-8")
    sections = {text[3:7]: text.strip() for text in re.split(r"^(?=## )", page, flags=re.MULTILINE)[1:]}
    codes = [name for name in sections if re.fullmatch(r"E\d{3}", name)]
    if code.upper() not in codes:
        raise UsageError(f"no error has the code {code!r}", fix=suggest(code.upper(), codes))
    return sections[code.upper()]


def load(target: "str | Path", *, device: str | None = None) -> "Classifier":
    """A trained net, ready to predict: of the zoo by its name, of a bundle or of a run by its folder.

    Args:
        target: A name such as "cifar10-sprint", or a folder.
        device: "cpu", "cuda", "mps" or "auto"; by default the CPU, for a run that of its recipe.

    Raises:
        BundleError: No such net, or a damaged bundle.
        RunError: A damaged run, or one that was not evaluated.

    Example:
        >>> load("digits").labels
        ('0', '1', '2', '3', '4', '5', '6', '7', '8', '9')
    """
    from convsmith.models.bundle import load as load_bundle
    from convsmith.models.zoo import find_bundle

    folder = find_bundle(str(target))
    if folder is not None:
        return load_bundle(folder, device or "cpu")
    from convsmith.exporters.bundle import classifier_of

    return classifier_of(Path(target), device)


def predict(
    target: "str | Path | Classifier", images: "Given | Sequence[Given]", *, top_k: int = 3
) -> "list[Prediction]":
    """Classify images by a trained net.

    Args:
        target: As for `load`, or what it returned, which spares loading it again.
        images: One or several of: paths of files and folders, patterns, http(s) addresses, Pillow images, and
            uint8 arrays `(H, W)`, `(H, W, C)` or `(N, H, W, C)`; of any size.
        top_k: How many of the likeliest classes to tell.

    Returns:
        One prediction an image, in their order.

    Raises:
        ConvsmithError: As `load`; FileError where nothing is at a path; ImageError where an image cannot be
            read.

    Example:
        >>> from sklearn.datasets import load_digits
        >>> seven = (load_digits().images[7] * 15.9375).astype("uint8")
        >>> [each.label for each in predict("digits", seven)]
        ['7']
    """
    classifier = load(target) if isinstance(target, str | Path) else target
    return classifier.predict(images, top_k=top_k)


def export_bundle(run: Path, folder: Path, *, replace: bool = False) -> Path:
    """Write a run's bundle: weights, spec, labels, preprocessing, calibration, card and manifest, verified.

    Args:
        run: Its folder; its data set has to be there, on whose test images the shipped weights are measured.
        folder: Appears whole, or not at all.
        replace: Whether another bundle there may be replaced.

    Returns:
        The folder.

    Raises:
        RunError: No such run, a damaged one, one that was not evaluated, or its data set has changed.
        DataError: The data set cannot be found or read.
        FileError: Something else is there already.
    """
    from convsmith.exporters.bundle import bundle_contents
    from convsmith.models import bundle

    bundle.write(folder, bundle_contents(run), replace=replace)
    return folder


def export_onnx(
    target: "str | Path",
    path: Path,
    *,
    int8: bool = False,
    images: Sequence[str] = (),
    replace: bool = False,
) -> "Parity":
    """Write a trained net as one ONNX file, once its answers have been compared with PyTorch's.

    Args:
        target: As for `load`.
        path: Of the file.
        int8: Keep weights and maps as 8-bit numbers, set by training images.
        images: Images to compare on, as for `predict`; by default the test images of its data set.
        replace: Whether another file there may be replaced.

    Returns:
        How well the two agree.

    Raises:
        ParityError: They do not; nothing is written.
        MissingExtraError: The extra `onnx` is not installed.
        ConvsmithError: As `load`; the data set cannot be found or read; another file is there.
    """
    from convsmith.exporters.onnx_export import exported
    from convsmith.system import files

    model, parity = exported(str(target), int8=int8, images=images)
    files.write_new({path: model}, replace=replace)
    return parity


def eject(run: Path, folder: Path) -> tuple[Path, ...]:
    """Write a finished run out as a plain project: code, weights, log, plots, notebook and README.

    Nothing in it needs convsmith: it trains and tests by itself, with PyTorch and albumentations.

    Args:
        run: Its folder, which is only read.
        folder: New or empty.

    Returns:
        The paths of what was written.

    Raises:
        FileError: The folder is not empty, lies inside the run, or cannot be written to.
        RunError: The run is missing, damaged or not finished.
        DataError: Its data set is not where it was.
    """
    from convsmith.exporters.project.project import eject as write

    return write(run, folder)


def draw(analysis: Analysis, folder: Path, *, heading: str = "") -> tuple[Path, Path]:
    """Draw a net as a block diagram with the receptive field growing under it: `net.svg` and `net.png`.

    Args:
        analysis: From `summary`, from `load_target(...).analysis`, or from tracing a module.
        folder: Is made where it is missing.
        heading: Over the picture; the net itself if left out.
    """
    from convsmith.reports.diagram import diagram, save
    from convsmith.system import files

    return save(diagram(analysis, heading), files.make_folder(folder))


def receptive_field(
    target: "Target", folder: Path, *, num_images: int = 256
) -> "tuple[EffectiveReceptiveField, Path]":
    """Measure what the centre of the last map before the head looks at, and draw it.

    Args:
        target: From `load_target`: a run, or a recipe, whose net then has its initial weights.
        folder: Where `receptive-field.png` and `receptive-field.json` go; is made where it is missing.
        num_images: Test images that the measurement is over.

    Raises:
        RecipeError: The target is a net or a bundle alone, without images.
        RunError: The run's weights are damaged.
    """
    from convsmith.api.receptive_field import measure
    from convsmith.reports.receptive_field import field_picture
    from convsmith.reports.style import save
    from convsmith.system import files

    files.check_destination(folder)
    field = measure(target, num_images)
    weights = "trained" if target.run else "initial"
    subtitle = f"{target.name}, {weights} weights, {field.num_images:,} test images, layer {field.layer}"
    files.make_folder(folder)
    files.write_json(folder / "receptive-field.json", field.record())
    figure = field_picture(field, "Effective receptive field", subtitle)
    return field, save(figure, folder / "receptive-field.png")
