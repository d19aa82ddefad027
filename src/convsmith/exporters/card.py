"""The model card of a bundle, in Markdown."""

import shlex
import tomllib

from convsmith.data.images.input_rule import POLICIES, Colour
from convsmith.evaluation.confidence import Confidence
from convsmith.evaluation.imbalance import ClassBalance
from convsmith.models.bundle_schema import BundleMetadata, ModuleSpec, Origin, Spec, TestMetrics, WeightsFile
from convsmith.modules.architecture import SOURCE
from convsmith.modules.reference import file_of
from convsmith.net.analysis import Analysis
from convsmith.text import escape_markdown, fenced, in_line, join_first, markdown_table, percent, plural

_OUTPUTS = {
    "log_probabilities": "log-probabilities",
    "probabilities": "probabilities; their logarithm is used",
}
# A longer table of classes would bury the rest.
_MAX_CLASSES = 100


def card(metadata: BundleMetadata, analysis: Analysis, *, is_library_recipe: bool) -> str:
    """Return the card; all of it follows from `bundle.json` and the net.

    Args:
        metadata: The contents of `bundle.json`.
        analysis: Of the net, on images of the bundle's size.
        is_library_recipe: Whether the recipe ships with convsmith, so that its name reproduces the training.
    """
    sections = (
        _summary(metadata, analysis),
        _usage(metadata.spec),
        _accuracy(metadata),
        _confidence(metadata),
        _limitations(metadata),
        _reproduction(metadata, is_library_recipe=is_library_recipe),
    )
    return "\n\n".join(sections) + "\n"


def _summary(metadata: BundleMetadata, analysis: Analysis) -> str:
    shape, origin, labels = metadata.preprocessing, metadata.origin, metadata.labels
    macs = f"{analysis.known_macs:,}"
    if analysis.unknown_macs:
        macs = f"at least {macs} ({plural(len(analysis.unknown_macs), 'operation')} unknown)"
    mode = "RGB" if shape.channels == 3 else "greyscale"
    names = join_first(map(escape_markdown, labels), _MAX_CLASSES)
    rows = [
        ["classes", f"{len(labels):,}: {names}"],
        ["input", f"{mode} images of {shape.height} x {shape.width} pixels; other images are converted"],
        *_net(metadata.spec),
        ["parameters", f"{analysis.parameters:,}, stored as {metadata.weights.format}"],
        ["multiply-accumulates", f"{macs} per image"],
        ["receptive field", escape_markdown(analysis.receptive_field_text)],
        *_training_rows(origin),
    ]
    table = markdown_table(["", ""], rows, left=2)
    return f"# {escape_markdown(metadata.name)}\n\n{escape_markdown(metadata.description)}\n\n{table}"


def _training_rows(origin: Origin) -> list[list[str]]:
    title = escape_markdown(origin.data_title)
    if origin.weights is None:
        parts = [title, plural(origin.train_images, "image"), plural(origin.epochs, "epoch")]
        return [["training data", ", ".join(parts)]]
    return [["weights", f"from {escape_markdown(origin.weights.file)}, trained elsewhere"], ["data", title]]


def _net(spec: Spec | ModuleSpec) -> list[list[str]]:
    """Return the rows of the net: the notation, or the module and its package."""
    text = spec.module if isinstance(spec, ModuleSpec) else spec.net
    rows = [["net", f"`{text.replace('|', ' ').replace('`', ' ')}`"]]
    if isinstance(spec, ModuleSpec) and spec.package:
        rows.append(["package", escape_markdown(spec.package)])
    if isinstance(spec, ModuleSpec) and spec.outputs != "logits":
        rows.append(["outputs", _OUTPUTS[spec.outputs]])
    return rows


def _module(spec: Spec | ModuleSpec) -> str:
    return spec.module if isinstance(spec, ModuleSpec) else ""


def _usage(spec: Spec | ModuleSpec) -> str:
    word, argument, warning = "", "", ""
    if isinstance(spec, ModuleSpec):
        word, argument = " --trust-code", ", trust_code=True"
        what = f"code in `{SOURCE}/`" if file_of(_module(spec)) else "code of an installed package"
        warning = f"\n\nThe net is {what}, which these commands run. Read it before you use them."
    commands = f"convsmith predict FOLDER picture.png{word}\nconvsmith export FOLDER --onnx model.onnx{word}"
    python = (
        f'import convsmith as cs\n\nclassifier = cs.load("FOLDER"{argument})  # this folder\n'
        'print(classifier.predict("picture.png"))'
    )
    return f"## Usage\n\n{fenced(commands, 'sh')}\n\n{fenced(python, 'python')}{warning}"


def _accuracy(metadata: BundleMetadata) -> str:
    metrics, weights = metadata.measured, metadata.weights
    evaluated = metadata.origin.data.evaluation_set
    interval = f"{100 * metrics.low:.2f} to {100 * metrics.high:.2f} %"
    balance = ClassBalance(
        train=None, test=tuple(each.total for each in metrics.classes), kind=evaluated.kind
    )
    balanced = f"**Balanced accuracy {percent(_mean_recall(metrics))}**: {balance.text()}."
    parts = [
        *([balanced] if balance.is_imbalanced else []),
        (
            f"**{percent(metrics.accuracy)}** on the {evaluated.name}: {metrics.correct:,} of "
            f"{metrics.total:,} images, 95 % interval {interval}, mean loss {metrics.loss:.4f}. "
            "Measured with the weights of this bundle, computing in fp32."
        ),
        (
            f"Weights in fp32 classify {weights.correct_fp32:,} {evaluated.kind} images correctly, weights "
            f"in fp16 {weights.correct_fp16:,}; the bundle stores {weights.format}. "
            f"{percent(weights.agreement)} of the predictions are those of the evaluation"
            f"{'' if metadata.origin.weights else ' after the training'}."
        ),
    ]
    if len(metadata.labels) <= _MAX_CLASSES:
        rows = [
            [
                escape_markdown(label),
                f"{each.correct:,} of {each.total:,}",
                percent(each.correct / each.total, 1) if each.total else "n/a",
            ]
            for label, each in zip(metadata.labels, metrics.classes, strict=True)
        ]
        parts.append(markdown_table(["class", "correct", "accuracy"], rows))
    return "## Accuracy\n\n" + "\n\n".join(parts)


def _mean_recall(metrics: TestMetrics) -> float | None:
    """Return the balanced accuracy; None if a class has no test image."""
    recalls = [each.correct / each.total for each in metrics.classes if each.total]
    return sum(recalls) / len(recalls) if len(recalls) == len(metrics.classes) else None


def _confidence(metadata: BundleMetadata) -> str:
    metrics, confidence = metadata.measured, metadata.confidence
    images = f"{metadata.origin.data.evaluation_set.kind} images"
    on_test = confidence.fitted_on == "test"
    held_out = "" if metadata.origin.weights else ", which were not trained on"
    split = images if on_test else f"validation images{held_out}"
    hedge = "; fitted on the same images, the latter is optimistic" if on_test else ""
    wrong = "no prediction is wrong"
    if metrics.unsure_among_wrong is not None:
        wrong = f"{percent(metrics.unsure_among_wrong, 1)} of the wrong predictions"
    accuracy = "n/a" if metrics.accuracy_if_sure is None else percent(metrics.accuracy_if_sure)
    return (
        "## Confidence\n\n"
        f"Probabilities are the softmax of the logits divided by {confidence.temperature:.4f}, the "
        f"temperature with the smallest loss on {confidence.images:,} {split}. The expected calibration "
        f"error (15 bins) on the {images} is {percent(metrics.ece)} without the temperature and "
        f"{percent(metrics.calibrated_ece)} with it{hedge}.\n\n"
        f"A prediction is **unsure** below a confidence of {percent(confidence.unsure_below, 1)}; "
        f"{_reliability(confidence)}. {percent(metrics.unsure, 1)} of the "
        f"{images} are below it ({wrong}). The accuracy on the others is {accuracy}."
    )


def _reliability(confidence: Confidence) -> str:
    """Describe the predictions above the threshold, on the images that it was fitted on."""
    if confidence.accuracy_if_sure is not None:
        return f"{percent(confidence.accuracy_if_sure)} of those at or above it are correct on those images"
    if confidence.unsure_below == 1:
        return "no confidence is high enough for 95 % correct predictions on those images"
    return "95 % of the correct predictions on those images are at or above it"


def _limitations(metadata: BundleMetadata) -> str:
    shape = metadata.preprocessing
    items = [
        (
            f"The net distinguishes its {len(metadata.labels):,} classes only. Any other image is assigned "
            "to one of them; a low confidence reveals many such images, but not all."
        ),
        (
            f"Images of other sizes than {shape.height} x {shape.width} pixels are resized, so that small "
            f"details are lost: {POLICIES[shape.resize_policy]}. Transparent pixels become the colour "
            f"{_rgb(shape.rule.background)} (RGB)."
        ),
        (
            f"The metrics hold for images like those of {escape_markdown(metadata.origin.data_title)}. On "
            "other images the accuracy is lower; by how much was not measured."
        ),
        (
            "The weights were trained elsewhere: how, and on which images, is not known. If the test images "
            "were among them, the accuracy is too high."
            if metadata.origin.weights
            else "The metrics are those of one training with one seed; they vary with the seed."
        ),
        *map(_sentence, metadata.origin.taught[1:]),
    ]
    return "## Limitations\n\n" + "\n".join(f"- {item}" for item in items)


def _rgb(colour: Colour) -> str:
    return ", ".join(map(str, colour if len(colour) == 3 else colour * 3))


def _place(spec: Spec | ModuleSpec) -> str:
    """Where a recipe is saved whose net has code."""
    return f" beside the folder `{SOURCE}`" if file_of(_module(spec)) else ""


def _external(metadata: BundleMetadata, weights: WeightsFile) -> str:
    """Describe weights that were trained elsewhere."""
    origin = metadata.origin
    versions = f"convsmith {escape_markdown(origin.convsmith)} and PyTorch {escape_markdown(origin.torch)}"
    entry = f", {escape_markdown(weights.entry)}" if weights.entry else ""
    parts = [
        (
            f"The weights are from {escape_markdown(weights.file)}{entry}, SHA-256 "
            f"`{weights.sha256.replace('`', '')}`, and were trained elsewhere. They were evaluated with "
            f"{versions}. Fingerprint of the data: `{origin.fingerprint.replace('`', '')}`."
        ),
        *map(_sentence, origin.notes),
        f"To evaluate them again, save this as `recipe.toml`{_place(metadata.spec)}:",
        fenced(origin.recipe_toml, "toml"),
        fenced(f"convsmith evaluate recipe.toml --weights {shlex.quote(in_line(weights.file))}", "sh"),
    ]
    return "## Origin\n\n" + "\n\n".join(parts)


def _reproduction(metadata: BundleMetadata, *, is_library_recipe: bool) -> str:
    origin = metadata.origin
    if origin.weights is not None:
        return _external(metadata, origin.weights)
    versions = f"convsmith {escape_markdown(origin.convsmith)} and PyTorch {escape_markdown(origin.torch)}"
    parts = [
        (
            f"Trained with {versions} on {escape_markdown(origin.processor)} in {origin.seconds:,.0f} "
            f"seconds, seed {origin.seed}. Fingerprint of the data: `{origin.fingerprint.replace('`', '')}`."
        ),
        *map(_sentence, origin.taught[:1]),
        *map(_sentence, origin.notes),
    ]
    if is_library_recipe:
        parts.append(fenced(f"convsmith train {shlex.quote(origin.recipe)} seed={origin.seed}", "sh"))
        parts.append("The complete recipe:")
    else:
        teacher = " set `train.teacher` to the location of the teacher," if origin.taught else ""
        start = " set `train.start_from` to the weights that it began with," if _has_start(origin) else ""
        place = _place(metadata.spec)
        parts.append(
            f"Save this as `recipe.toml`{place},{teacher}{start} and run `convsmith train recipe.toml`:"
        )
    return "## Reproduction\n\n" + "\n\n".join([*parts, fenced(origin.recipe_toml, "toml")])


def _has_start(origin: Origin) -> bool:
    """Whether the training began with other weights than initial ones."""
    return "start_from" in tomllib.loads(origin.recipe_toml).get("train", {})


def _sentence(text: str) -> str:
    return f"{escape_markdown(text[:1].upper() + text[1:])}."
