"""From a run to what is shipped: its classifier, its bundle, and the images that exports are checked on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import tomli_w
import torch
from numpy.typing import NDArray
from torch import Tensor

import convsmith
from convsmith.data.dataset import ImageDataset, Split, image_ids, load
from convsmith.data.memory_mapped import Images
from convsmith.data.sources import NAMES
from convsmith.errors import BundleError, DataError, RunError
from convsmith.evaluation import predictions
from convsmith.evaluation.predictions import Predictions
from convsmith.exporters.card import card
from convsmith.models import bundle
from convsmith.models.bundle_schema import BundleMetadata, Origin, Preprocessing, Spec, Weights
from convsmith.models.classifier import Classifier, UnreadableImage, unreadable_error
from convsmith.models.confidence import fitted, measured
from convsmith.models.image_inputs import items_of
from convsmith.models.resolve import of_recipe
from convsmith.models.trained import teacher_notes
from convsmith.models.zoo import find_bundle
from convsmith.net.module import build
from convsmith.recipes.loader import load as load_recipe
from convsmith.recipes.loader import recipe_names
from convsmith.recipes.schema import Recipe
from convsmith.recipes.session import Session
from convsmith.runs.folder import RunFolder
from convsmith.runs.schema import DataRecord, Environment
from convsmith.runs.session import open_run
from convsmith.system.device import choose_device, dtype_of
from convsmith.training.metrics import EVALUATION_BATCH

# Where weights of half the size cost less than this share of the test images, they are kept so.
WORTH = 0.0005
# Training images that 8-bit numbers are set by.
CALIBRATION = 512


def classifier_of(run: Path, device: str | None = None) -> Classifier:
    """A run's classifier: its weights and arithmetic are those of its evaluation.

    Raises:
        RunError: No such run, a damaged one, or one that was not evaluated.
    """
    folder = RunFolder.open(run)
    recipe, record = folder.recipe(), folder.read(DataRecord)
    folder.verify(folder.predictions.name)
    confidence = fitted(predictions.read(folder.predictions), "test")
    preprocessing = _preprocessing(record, run)
    planned = of_recipe(recipe, preprocessing.shape).plan
    net = build(planned)
    folder.load_weights(net)
    return Classifier(
        name=recipe.name,
        net=net,
        plan=planned,
        labels=record.class_names,
        preprocessing=preprocessing,
        confidence=confidence,
        device=choose_device(device or recipe.train.device),
        dtype=dtype_of(recipe.train.precision),
    )


def _preprocessing(record: DataRecord, run: Path) -> Preprocessing:
    try:
        channels, height, width = record.image_shape
        return Preprocessing.model_validate(
            {
                "channels": channels,
                "height": height,
                "width": width,
                "mean": record.mean,
                "std": record.std,
            }
        )
    except ValueError as error:
        raise RunError(
            f"its images cannot be shipped: {str(error).splitlines()[-1]}", where=str(run / "data.json")
        ) from error


def bundle_contents(run: Path) -> dict[str, bytes]:
    """The files of a run's bundle. Its weights are asked anew, in the form in which they are shipped.

    Raises:
        RunError: No such run, a damaged one, one that was not evaluated, or its data set has changed.
        DataError: The data set cannot be found or read.
    """
    folder, prepared = open_run(run)
    saved = predictions.read(folder.predictions)
    classifier = classifier_of(run, "cpu")
    tensors = {name: tensor.cpu() for name, tensor in classifier.net.state_dict().items()}
    found = {kept: _asked(classifier, tensors, kept, prepared.data.test) for kept in ("fp32", "fp16")}
    right = {kept: int((~each.wrong).sum()) for kept, each in found.items()}
    kept: Literal["fp16", "fp32"] = "fp16" if right["fp32"] - right["fp16"] < WORTH * len(saved) else "fp32"
    confidence = fitted(found[kept], "test")
    if (held_out := prepared.data.validation) is not None:
        confidence = fitted(_asked(classifier, tensors, kept, held_out), "validation")
    recipe = prepared.recipe
    facts = BundleMetadata(
        name=recipe.name,
        description=recipe.description,
        labels=classifier.labels,
        spec=Spec(**recipe.model.model_dump()),
        preprocessing=classifier.preprocessing,
        confidence=confidence,
        weights=Weights(
            format=kept,
            correct_fp32=right["fp32"],
            correct_fp16=right["fp16"],
            agreement=float((found[kept].predicted == saved.predicted).mean()),
        ),
        measured=measured(found[kept], classifier.labels, confidence),
        origin=_origin(folder, prepared),
    )
    page = card(facts, on_the_shelf=_as_on_the_shelf(recipe))
    return bundle.contents(facts, bundle.in_format(tensors, kept), page)


def _asked(classifier: Classifier, tensors: Mapping[str, Tensor], kept: str, split: Split) -> Predictions:
    """What the net says of a split with its weights as they are kept, in fp32 arithmetic."""
    shipped = bundle.in_format(tensors, kept)
    if not all(torch.isfinite(tensor).all() for tensor in shipped.values()):
        # Too large for 16 bits: as if every answer were wrong.
        return Predictions(
            logits=np.eye(len(classifier.labels), dtype=np.float32)[split.labels - 1], labels=split.labels
        )
    net = build(classifier.plan)
    net.load_state_dict(shipped)
    asked = Classifier(
        name=classifier.name,
        net=net,
        plan=classifier.plan,
        labels=classifier.labels,
        preprocessing=classifier.preprocessing,
        confidence=classifier.confidence,
        device=torch.device("cpu"),
    )
    return Predictions(logits=asked.logits(split.images, EVALUATION_BATCH), labels=split.labels)


def _origin(folder: RunFolder, prepared: Session) -> Origin:
    recipe, environment = prepared.recipe, folder.read(Environment)
    record, rows = folder.read(DataRecord), folder.metrics()
    packages, cores = environment.packages, environment.cores
    # The path of a folder says nothing elsewhere, and tells where somebody keeps things.
    data = recipe.data.model_copy(update={"source": _public(recipe.data.source)})
    train = recipe.train
    if train.teacher is not None:
        train = train.model_copy(update={"teacher": _public(train.teacher)})
    # What the shelf said of earlier trainings is no figure of this one.
    table = recipe.model_copy(update={"data": data, "train": train, "result": ""}).table()
    return Origin(
        recipe=recipe.name,
        seed=recipe.seed,
        epochs=len(rows),
        seconds=round(sum(row.seconds for row in rows), 1),
        data=data,
        data_title=record.verified_title,
        fingerprint=record.fingerprint,
        train_images=len(prepared.data.train),
        convsmith=packages.get("convsmith", convsmith.__version__),
        torch=packages.get("torch", "?"),
        processor=f"{environment.processor}, {cores} core{'' if cores == 1 else 's'}",
        taught=teacher_notes(folder),
        recipe_toml=tomli_w.dumps(table),
    )


def _public(source: str) -> str:
    return Path(source).name if Path(source).is_absolute() else source


def _as_on_the_shelf(recipe: Recipe) -> bool:
    """Whether training the recipe of this name gives this net, but for the seed."""
    if recipe.name not in recipe_names():
        return False
    mine, theirs = recipe, load_recipe(recipe.name)
    precision = {"precision": theirs.train.precision}
    naming = {"description": theirs.description, "result": theirs.result, "seed": theirs.seed}
    train = mine.train.model_copy(update=precision)
    return mine.model_copy(update={**naming, "train": train, "brief": theirs.brief}) == theirs


@dataclass(frozen=True, kw_only=True)
class Checked:
    """Real images that an export is checked on, and others that its numbers are set by.

    Attributes:
        images: `(N, H, W, C)` uint8.
        names: Of each, for those who look for it.
        labels: `(N,)`, None where they are not known.
        calibration: Training images `(M, H, W, C)`, for 8-bit numbers; None where there are none.
    """

    images: Images
    names: Sequence[str]
    labels: NDArray[np.int64] | None = None
    calibration: Images | None = None


def images_for(text: str, classifier: Classifier, given: Sequence[str] = ()) -> Checked:
    """The images that the export of a run, a bundle or a net of the zoo is checked on.

    Args:
        text: Names the net.
        classifier: That net.
        given: Images to check on; by default the test images of its data set.

    Raises:
        BundleError: The data set of a bundle is not one that is known by name.
        DataError: The data set cannot be found or read, or is another one.
        ImageError: One of the images cannot be read.
    """
    if given:
        items = list(items_of(given))
        read = [classifier.read(item) for item in items]
        unreadable = [each for each in read if isinstance(each, UnreadableImage)]
        if unreadable:
            raise unreadable_error(unreadable)
        pixels = np.stack([each for each in read if isinstance(each, np.ndarray)])
        return Checked(images=pixels, names=[item.name for item in items])
    data = _data_of(text)
    ids = [str(each, "ascii") for each in image_ids(data.test.images)]
    random = np.random.default_rng(0)
    chosen = np.sort(random.permutation(len(data.train))[:CALIBRATION])
    return Checked(
        images=data.test.images,
        names=[f"test image {index} ({each})" for index, each in enumerate(ids)],
        labels=data.test.labels,
        calibration=data.train.select(chosen).images,
    )


def _data_of(text: str) -> ImageDataset:
    folder = find_bundle(text)
    if folder is None:
        return open_run(Path(text))[1].data
    origin = bundle.read_facts(folder).origin
    # No other: a file from elsewhere may not name places to be read or called.
    if origin.data.source not in NAMES:
        raise BundleError(
            f"its data set, {origin.data.source!r}, is not one that is known by name",
            where=text,
            fix="name images to check the export on: --images FOLDER",
        )
    data = load(origin.data)
    if data.fingerprint != origin.fingerprint:
        raise DataError(
            f"not the data set of this bundle: fingerprint {data.fingerprint[:12]}, expected "
            f"{origin.fingerprint[:12]}",
            where=data.location,
            fix="bring the data set back to what it was, or name images: --images FOLDER",
        )
    return data
