"""The card of a bundle, in Markdown: what it is, how good, how far to trust it, how to repeat it."""

import shlex

from convsmith.models.bundle_schema import BundleMetadata
from convsmith.net.arithmetic import analyze
from convsmith.net.notation import parse
from convsmith.net.plan import plan
from convsmith.text import escape_markdown, fenced, markdown_table, percent

# A longer table of classes would bury the rest.
_MOST_CLASSES = 100


def card(facts: BundleMetadata, *, on_the_shelf: bool) -> str:
    """The card; it says nothing that `bundle.json` and the net's arithmetic do not.

    Args:
        facts: The bundle's.
        on_the_shelf: Whether the recipe ships with convsmith as it was trained.
    """
    parts = (_what(facts), _use(), _accuracy(facts), _confidence(facts), _limits(facts))
    return "\n\n".join([*parts, _repeat(facts, on_the_shelf=on_the_shelf)]) + "\n"


def _what(facts: BundleMetadata) -> str:
    analysis = analyze(plan(parse(facts.spec.net), facts.preprocessing.shape, facts.spec))
    shape, origin = facts.preprocessing, facts.origin
    colours = "colour" if shape.channels == 3 else "grey"
    labels = ", ".join(map(escape_markdown, facts.labels[:_MOST_CLASSES]))
    more = f" and {len(facts.labels) - _MOST_CLASSES:,} more" if len(facts.labels) > _MOST_CLASSES else ""
    rows = [
        ["answers with", f"one of {len(facts.labels):,} classes: {labels}{more}"],
        ["sees", f"{colours} images of {shape.height} x {shape.width} pixels; others are brought to that"],
        ["net", f"`{facts.spec.net.replace('|', ' ').replace('`', ' ')}`"],
        ["parameters", f"{analysis.parameters:,}, kept as {facts.weights.format}"],
        ["multiply-accumulates", f"{analysis.macs:,} an image"],
        ["receptive field", f"{analysis.receptive_field} pixels"],
        [
            "trained on",
            f"{escape_markdown(origin.data_title)}, {origin.train_images:,} images, {origin.epochs} epochs",
        ],
    ]
    return f"# {escape_markdown(facts.name)}\n\n{escape_markdown(facts.description)}\n\n" + markdown_table(
        ["", ""], rows, left=2
    )


def _use() -> str:
    commands = "convsmith predict FOLDER picture.png\nconvsmith export FOLDER --onnx model.onnx"
    python = (
        'import convsmith as cs\n\nclassifier = cs.load("FOLDER")  # this folder\n'
        'print(classifier.predict("picture.png"))'
    )
    return f"## Use\n\n{fenced(commands, 'sh')}\n\n{fenced(python, 'python')}"


def _accuracy(facts: BundleMetadata) -> str:
    found, weights = facts.measured, facts.weights
    interval = f"{100 * found.low:.2f} to {100 * found.high:.2f} %"
    text = (
        f"**{percent(found.accuracy)}** on the {found.total:,} test images: {found.correct:,} right, "
        f"95 % interval {interval}, mean loss {found.loss:.4f}, by these weights in fp32 arithmetic.\n\n"
        f"Of the test images {weights.correct_fp32:,} are right with weights in fp32 and "
        f"{weights.correct_fp16:,} in fp16, so they are kept as {weights.format}. "
        f"{percent(weights.agreement)} get the class that the evaluation after the training gave them."
    )
    lines = [text]
    if len(facts.labels) <= _MOST_CLASSES:
        rows = [
            [escape_markdown(label), f"{each.correct:,} of {each.total:,}", _share(each.correct, each.total)]
            for label, each in zip(facts.labels, found.classes, strict=True)
        ]
        lines.append(markdown_table(["class", "right", "share"], rows))
    return "## Accuracy\n\n" + "\n\n".join(lines)


def _confidence(facts: BundleMetadata) -> str:
    found, confidence = facts.measured, facts.confidence
    split = "test images" if confidence.fitted_on == "test" else "validation images, which no training saw"
    caught = "none is wrong" if found.unsure_among_wrong is None else percent(found.unsure_among_wrong, 1)
    if_sure = "n/a" if found.accuracy_if_sure is None else percent(found.accuracy_if_sure)
    hedge = ", so this is no estimate for new images" if confidence.fitted_on == "test" else ""
    plain, warmed = percent(found.ece), percent(found.calibrated_ece)
    calibrated = f"{plain} without it, {warmed} with it{hedge}"
    return (
        "## Confidence\n\n"
        f"Probabilities are the softmax of the logits divided by {confidence.temperature:.4f}, the "
        f"temperature of the smallest loss on {confidence.images:,} {split}. The expected calibration error "
        f"(15 bins) on the test images is {calibrated}.\n\n"
        f"An answer is called **unsure** below a confidence of {percent(confidence.unsure_below, 1)}, which "
        f"95 % of the right answers on those images reach. {percent(found.unsure, 1)} of the test images "
        f"fall below it; of the wrong answers {caught}. The others are right in {if_sure}."
    )


def _limits(facts: BundleMetadata) -> str:
    shape = facts.preprocessing
    return (
        "## Limits\n\n"
        f"- It knows its {len(facts.labels):,} classes and no others. An image of something else gets one of "
        "them; a low confidence warns of many such images, not of all.\n"
        f"- It sees the middle of an image at {shape.height} x {shape.width} pixels: what is small in it, or "
        "at its edge, is lost.\n"
        f"- The figures hold for images like those of {escape_markdown(facts.origin.data_title)}; for "
        "others they are lower, by an amount that nobody has measured here.\n"
        "- One training with one seed was measured; another seed gives another figure."
        + "".join(f"\n- {_sentence(note)}" for note in facts.origin.taught[1:])
    )


def _repeat(facts: BundleMetadata, *, on_the_shelf: bool) -> str:
    origin = facts.origin
    versions = f"convsmith {escape_markdown(origin.convsmith)} and PyTorch {escape_markdown(origin.torch)}"
    text = (
        f"Trained with {versions} on {escape_markdown(origin.processor)} in {origin.seconds:,.0f} seconds, "
        f"seed {origin.seed}. Fingerprint of the data: `{origin.fingerprint.replace('`', '')}`."
    )
    lines = [text, *(_sentence(teacher) for teacher in origin.taught[:1])]
    if on_the_shelf:
        lines.append(fenced(f"convsmith train {shlex.quote(origin.recipe)} seed={origin.seed}", "sh"))
        lines.append("The recipe with everything settled:")
    else:
        teacher = " let `train.teacher` lead to that net," if origin.taught else ""
        lines.append(f"Save this as `recipe.toml`,{teacher} and run `convsmith train recipe.toml`:")
    return "## How to repeat it\n\n" + "\n\n".join([*lines, fenced(origin.recipe_toml, "toml")])


def _sentence(text: str) -> str:
    return f"{escape_markdown(text[:1].upper() + text[1:])}."


def _share(correct: int, total: int) -> str:
    return percent(correct / total, 1) if total else "n/a"
