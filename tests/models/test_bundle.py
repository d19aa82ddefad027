"""Bundles and prediction: what is shipped answers as what was measured, and trusts nothing that it reads."""

import csv
import hashlib
import io
import json
import shutil
import struct
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
import torch
from PIL import Image

import convsmith as cs
from convsmith.cli import run as command
from convsmith.data.dataset import load as load_data
from convsmith.data.decode import UnusableImageError
from convsmith.errors import BundleError, ConvsmithError, FileError, ImageError
from convsmith.evaluation import predictions
from convsmith.evaluation.predictions import Predictions
from convsmith.models import bundle
from convsmith.models.bundle_schema import Preprocessing
from convsmith.models.classifier import Prediction, UnreadableImage
from convsmith.models.confidence import fitted, measured
from convsmith.models.image_inputs import Item, fetch, items_of
from convsmith.models.preprocessing import pixels_of, pixels_of_array, pixels_of_image
from convsmith.models.teacher import with_absolute_paths
from convsmith.models.zoo import zoo_folder, zoo_name, zoo_names
from convsmith.recipes.loader import load as load_recipe
from convsmith.system import files, reading

GREY = Preprocessing(channels=1, height=8, width=8, mean=(0.5,), std=(0.25,))
COLOUR = Preprocessing(channels=3, height=8, width=8, mean=(0.2, 0.4, 0.6), std=(0.25, 0.25, 0.25))


@pytest.fixture(scope="module")
def trained_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    recipe = load_recipe("digits", ["train.epochs=3", "model.net=C8 C16:s2 / G F10", "name=tiny"])
    return cs.train(recipe, runs=tmp_path_factory.mktemp("runs")).folder


@pytest.fixture(scope="module")
def shipped(trained_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return cs.export_bundle(trained_run, tmp_path_factory.mktemp("bundles") / "tiny")


@pytest.fixture
def copied(shipped: Path, tmp_path: Path) -> Path:
    return shutil.copytree(shipped, tmp_path / "copy")


@pytest.fixture(scope="module")
def test_images(trained_run: Path) -> np.ndarray:
    return np.asarray(load_data(load_recipe(str(trained_run / "recipe.toml")).data).test.images)


def saved(path: Path, image: np.ndarray | Image.Image, **options: Any) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = image if isinstance(image, Image.Image) else Image.fromarray(np.squeeze(image))
    picture.save(path, **options)
    return str(path)


# --- a run and its bundle ---


@pytest.mark.parametrize("batch_size", [1, 7, 256])
def test_files_of_the_test_images_give_the_logits_of_the_evaluation(
    trained_run: Path, test_images: np.ndarray, tmp_path: Path, batch_size: int
) -> None:
    expected = predictions.read(trained_run / "predictions.npz").logits[:23]
    classifier = cs.load(trained_run)
    names = [saved(tmp_path / f"{n:03}.png", image) for n, image in enumerate(test_images[:23])]
    pixels = np.stack([pixels_of(name, classifier.preprocessing) for name in names])
    assert np.array_equal(pixels, test_images[:23])
    assert np.array_equal(classifier.logits(pixels, batch_size), expected)
    scaled = expected.astype(np.float64) / classifier.confidence.temperature
    shares = np.exp(scaled) / np.exp(scaled).sum(1, keepdims=True)
    found = classifier.predict(str(tmp_path), top_k=10, batch_size=batch_size)
    assert [each.image for each in found] == names
    for each, row in zip(found, shares, strict=True):
        assert dict(each.top) == pytest.approx({str(n): share for n, share in enumerate(row)}, abs=1e-9)
        assert (each.label, each.confidence) == each.top[0]
        assert each.unsure == (row.max() < classifier.confidence.unsure_below)


def test_a_bundle_holds_half_size_weights_where_accuracy_holds(trained_run: Path, shipped: Path) -> None:
    theirs = safetensors.numpy.load_file(trained_run / "model.safetensors")
    ours = safetensors.numpy.load_file(shipped / "model.safetensors")
    assert ours.keys() == theirs.keys()
    for name, tensor in theirs.items():
        wanted = tensor.astype(np.float16) if tensor.dtype == np.float32 else tensor
        assert np.array_equal(ours[name], wanted)
    facts = bundle.read(shipped).metadata
    assert facts.weights.format == "fp16"
    assert facts.weights.correct_fp32 - facts.weights.correct_fp16 <= 0.0005 * facts.measured.total
    assert facts.weights.agreement > 0.99


def test_weights_that_half_size_cannot_hold_stay_as_they_are(trained_run: Path, tmp_path: Path) -> None:
    run = shutil.copytree(trained_run, tmp_path / "run")
    weights = safetensors.numpy.load_file(run / "model.safetensors")
    # The same net: what a norm follows may be of any size.
    for part in ("conv1.weight", "norm1.running_mean"):
        weights[f"block1.{part}"] *= np.float32(2e6)
    weights["block1.norm1.running_var"] *= np.float32(4e12)
    safetensors.numpy.save_file(weights, run / "model.safetensors")
    (run / "manifest.json").unlink()
    facts = bundle.read(cs.export_bundle(run, tmp_path / "bundle")).metadata
    assert facts.weights.format == "fp32"
    assert facts.weights.correct_fp16 == 0
    assert facts.weights.agreement > 0.99


def test_a_bundle_is_four_files_and_says_what_it_does(shipped: Path, test_images: np.ndarray) -> None:
    assert {path.name for path in shipped.iterdir()} == {*bundle.CONTENTS, bundle.MANIFEST}
    manifest = json.loads((shipped / "manifest.json").read_text())
    for name in bundle.CONTENTS:
        content = (shipped / name).read_bytes()
        assert manifest[name] == {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    facts, classifier = bundle.read(shipped).metadata, cs.load(shipped)
    labels = load_data(facts.origin.data).test.labels
    right = classifier.logits(test_images).argmax(1) == labels
    assert (facts.measured.correct, facts.measured.total) == (int(right.sum()), len(labels))
    card = (shipped / "README.md").read_text()
    analysis = cs.summary("C8 C16:s2 / G F10", (1, 8, 8))
    for told in (
        f"**{100 * right.mean():.2f} %**", f"{analysis.parameters:,}", f"{analysis.macs:,} an image",
        "scikit-learn digits", "unsure", "## Limitations", 'net = "C8 C16:s2 / G F10"', "recipe.toml",
    ):  # fmt: skip
        assert told in card


def test_equal_runs_give_equal_bundles_and_others_are_not_replaced(
    trained_run: Path, copied: Path, tmp_path: Path
) -> None:
    before = {path.name: path.read_bytes() for path in copied.iterdir()}
    cs.export_bundle(trained_run, copied)
    (copied / "README.md").write_text("another")
    with pytest.raises(FileError, match="another bundle is there"):
        cs.export_bundle(trained_run, copied)
    cs.export_bundle(trained_run, copied, replace=True)
    assert {path.name: path.read_bytes() for path in copied.iterdir()} == before
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(FileError, match="not empty"):
        cs.export_bundle(trained_run, tmp_path / "mine", replace=True)
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.txt"]


def test_a_failed_write_leaves_what_was_there(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {path.name: path.read_bytes() for path in copied.iterdir()}
    write = files.write_bytes

    def full(path: Path, content: bytes) -> None:
        if path.name == "README.md":
            raise OSError(28, "No space left on device")
        write(path, content)

    monkeypatch.setattr(files, "write_bytes", full)
    with pytest.raises(FileError, match="No space left"):
        bundle.write(copied, {**before, "README.md": b"new"}, replace=True)
    with pytest.raises(FileError, match="No space left"):
        bundle.write(copied.with_name("new"), before)
    assert {path.name: path.read_bytes() for path in copied.iterdir()} == before
    assert [path.name for path in copied.parent.iterdir()] == ["copy"]


# --- what a bundle must not be ---


def rewritten(folder: Path, name: str, content: bytes) -> Path:
    """A bundle with another file, whose manifest is right: made by somebody who wants to be believed."""
    (folder / name).write_bytes(content)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest[name] = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def test_every_flipped_byte_and_every_shortened_file_is_found(copied: Path) -> None:
    for path in sorted(copied.iterdir()):
        content = path.read_bytes()
        step = max(1, len(content) // 12)
        for place in range(0, len(content), step):
            flipped = content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]
            for spoiled in (flipped, content[:place]):
                path.write_bytes(spoiled)
                with pytest.raises(BundleError):
                    cs.load(copied)
        path.write_bytes(content)
    assert cs.load(copied).name == "tiny"


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("format",), 2, "another version of convsmith: format 2"),
        (("spec", "net"), "C8 os.system / G F10", "spec.net"),
        (("spec", "net"), "C8 C16:s2 / G F11", "11 outputs for 10 labels"),
        (("spec", "net"), "F65536 F65536 F65536 F10", "tensor"),
        (("spec", "activation"), "torch.nn.ReLU", "spec.activation"),
        (("preprocessing", "height"), 10**9, "preprocessing.height"),
        (("preprocessing", "std"), [0.0], "preprocessing.std"),
        (("preprocessing", "sizes"), "eval('1')", "preprocessing.sizes"),
        (("confidence", "temperature"), 0.0, "confidence.temperature"),
        (("__class__",), "x", "__class__"),
        (("labels",), ["a"] * 11, "10 outputs for 11 labels"),
        (("weights", "format"), "fp32", "expected torch.float32"),
    ],
)  # fmt: skip
def test_only_what_the_vocabulary_knows_is_read(
    copied: Path, path: tuple[str, ...], value: Any, message: str
) -> None:
    facts = json.loads((copied / "bundle.json").read_text())
    place = facts
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    with pytest.raises(BundleError) as caught:
        cs.load(rewritten(copied, "bundle.json", json.dumps(facts).encode()))
    assert message in str(caught.value)


def bad_weights() -> dict[str, Callable[[dict[str, np.ndarray]], bytes]]:
    def nan(tensors: dict[str, np.ndarray]) -> bytes:
        tensors["block1.conv1.weight"][0] = np.nan
        return safetensors.numpy.save(tensors)

    return {
        "a pickle": lambda _: b"\x80\x04cos\nsystem\n(S'touch canary'\ntR.",
        "a header of 2^63 bytes": lambda _: struct.pack("<Q", 2**63) + b"{}",
        "not finite": nan,
        "one missing": lambda tensors: safetensors.numpy.save(dict(list(tensors.items())[1:])),
        "one more": lambda tensors: safetensors.numpy.save({**tensors, "x": np.zeros(1)}),
        "another shape": lambda tensors: safetensors.numpy.save(
            {name: tensor[..., :1] if tensor.ndim else tensor for name, tensor in tensors.items()}
        ),
        "nothing": lambda _: b"",
    }


@pytest.mark.parametrize("kind", bad_weights())
def test_weights_that_are_none_are_refused(
    copied: Path, kind: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    content = bad_weights()[kind](safetensors.numpy.load_file(copied / "model.safetensors"))
    with pytest.raises(BundleError, match=r"model\.safetensors"):
        cs.load(rewritten(copied, "model.safetensors", content))
    assert not (tmp_path / "canary").exists()


def test_what_is_no_bundle_is_told(tmp_path: Path, copied: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (copied / "model.safetensors").unlink()
    with pytest.raises(BundleError, match=r"model\.safetensors is missing"):
        cs.load(copied)
    picture = saved(tmp_path / "a.png", np.zeros((8, 8), np.uint8))
    for target, told in (
        ("cifar10-sprnt", "did you mean 'cifar10-sprint'?"),
        (str(tmp_path / "no"), "no such folder"),
        (str(tmp_path), "no trained run"),
    ):
        assert command(["predict", target, picture]) == 2
        assert told in capsys.readouterr().err


# --- what a bundle is asked beside its answers ---


def test_a_bundle_is_judged_as_its_run_is(
    trained_run: Path, shipped: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["brief.min_receptive_field=5", "brief.min_accuracy=0.5", "brief.max_calibration_error=0.9"]
    told = []
    for folder in (trained_run, shipped):
        for command_line in (["summary", str(folder)], ["check", str(folder), *asked, "--json"]):
            assert command(command_line) == 0
            told.append(capsys.readouterr().out)
    assert told[0] == told[2]
    of_run, of_bundle = (
        {each["title"]: (each["verdict"], each["found"]) for each in json.loads(text)["checks"]}
        for text in (told[1], told[3])
    )
    assert {"test accuracy", "calibration error"} < set(of_bundle)
    assert of_bundle == of_run


def test_a_net_of_the_zoo_is_judged_by_the_course(capsys: pytest.CaptureFixture[str]) -> None:
    assert command(["check", str(zoo_folder("cifar10-sprint")), "--brief", "course-cifar10"]) == 0
    measured = bundle.read(zoo_folder("cifar10-sprint")).metadata.measured
    assert f"{measured.accuracy:.2%} (required: at least 85.00%)" in capsys.readouterr().out
    assert command(["check", str(zoo_folder("cifar10-sprint")), "brief.min_accuracy=0.9"]) == 1


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda _: "= no TOML", "its recipe cannot be used"),
        (lambda _: "a = " + "[" * 5000, "its recipe cannot be used"),
        (lambda recipe: recipe + "\n[speed]\nlimit = 1\n", "its recipe cannot be used"),
        (lambda recipe: recipe.replace("C8 C16:s2", "C8 C16"), "its net is another"),
    ],
)
def test_a_bundle_whose_recipe_is_none_is_refused(
    copied: Path, spoil: Callable[[str], str], told: str
) -> None:
    facts = json.loads((copied / "bundle.json").read_text())
    facts["origin"]["recipe_toml"] = spoil(facts["origin"]["recipe_toml"])
    rewritten(copied, "bundle.json", json.dumps(facts).encode())
    with pytest.raises(BundleError, match=told):
        _ = cs.resolve(str(copied)).recipe
    # It answers all the same: that needs no recipe.
    assert cs.load(copied).name == "tiny"


def test_what_a_bundle_cannot_do_is_told(shipped: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(["summary", str(shipped), "model.bias=true"]) == 2
    assert "a bundle's recipe cannot be changed after the training" in capsys.readouterr().err


# --- confidence ---


def test_the_threshold_is_what_19_of_20_right_answers_reach() -> None:
    random = np.random.default_rng(0)
    logits = random.normal(size=(1000, 5)).astype(np.float32) * 3
    labels = np.where(random.random(1000) < 0.7, logits.argmax(1), random.integers(0, 5, 1000))
    given = Predictions(logits=logits, labels=labels)
    found = fitted(given, "test")
    shares = np.exp(logits / found.temperature)
    confidence = (shares / shares.sum(1, keepdims=True)).max(1)
    right = np.sort(confidence[logits.argmax(1) == labels])
    reached = (right >= found.unsure_below - 1e-6).mean()
    assert 0.95 <= reached < 0.95 + 2 / len(right)
    losses = [
        np.mean(
            [
                np.log(np.exp(row / t).sum()) - row[label] / t
                for row, label in zip(logits, labels, strict=True)
            ]
        )
        for t in (found.temperature * 0.98, found.temperature, found.temperature * 1.02)
    ]
    assert losses[1] == min(losses)
    told = measured(given, tuple("abcde"), found)
    sure = confidence >= found.unsure_below
    assert told.unsure == pytest.approx(1 - sure.mean(), abs=2e-3)
    assert told.accuracy_if_sure == pytest.approx((logits.argmax(1) == labels)[sure].mean(), abs=2e-3)


def test_a_net_without_mistakes_has_the_plain_softmax() -> None:
    sure = Predictions(logits=np.eye(3, dtype=np.float32) * 9, labels=np.arange(3))
    assert fitted(sure, "validation").temperature == 1
    assert measured(sure, tuple("abc"), fitted(sure, "test")).unsure_among_wrong is None


# --- images of any size and mode ---


@pytest.mark.parametrize(
    "mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "HSV", "LAB"]
)
@pytest.mark.parametrize("rule", [GREY, COLOUR], ids=["grey", "colour"])
def test_any_mode_of_8_bits_becomes_the_nets(mode: str, rule: Preprocessing) -> None:
    image = Image.new(mode, (13, 29))
    assert pixels_of_image(image, rule).shape == (8, 8, rule.channels)


def test_an_image_that_fits_is_not_touched() -> None:
    random = np.random.default_rng(0)
    for rule, shape in ((GREY, (8, 8, 1)), (COLOUR, (8, 8, 3))):
        image = random.integers(0, 256, shape).astype(np.uint8)
        assert np.array_equal(next(pixels_of_array(image, rule)), image)
        assert np.array_equal(pixels_of_image(Image.fromarray(image.squeeze()), rule), image)


def test_the_orientation_of_the_camera_is_applied(tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 256, (8, 8, 3)).astype(np.uint8)
    # By the EXIF standard: what of the stored pixels is to be seen.
    turned = {
        1: image, 2: image[:, ::-1], 3: image[::-1, ::-1], 4: image[::-1],
        5: image.transpose(1, 0, 2), 6: np.rot90(image, -1), 7: np.rot90(image, 2).transpose(1, 0, 2),
        8: np.rot90(image),
    }  # fmt: skip
    for orientation, seen in turned.items():
        exif = Image.Exif()
        exif[0x0112] = orientation
        name = saved(tmp_path / f"{orientation}.png", image, exif=exif)
        assert np.array_equal(pixels_of(name, COLOUR), seen), orientation


def test_what_is_transparent_has_the_colour_of_the_mean(tmp_path: Path) -> None:
    image = np.zeros((8, 8, 4), np.uint8)
    image[:4] = (255, 0, 0, 255)
    image[4:6, :, 3] = 128
    found = next(pixels_of_array(image, COLOUR))
    assert (found[:4] == (255, 0, 0)).all()
    assert (found[6:] == (51, 102, 153)).all()
    assert np.abs(found[4:6].astype(int) - (25, 51, 76)).max() <= 1
    palette = Image.fromarray(image[..., 0]).convert("P")
    name = saved(tmp_path / "p.gif", palette, transparency=palette.getpixel((0, 7)))
    assert (pixels_of(name, COLOUR)[6:] == (51, 102, 153)).all()
    grey = Image.new("LA", (8, 8))
    assert (pixels_of_image(grey, GREY) == 128).all()


@pytest.mark.parametrize(("width", "height"), [(40, 16), (16, 40), (17, 16), (8, 9), (3, 3), (1, 200)])
def test_the_middle_is_brought_to_size(width: int, height: int) -> None:
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3)).astype(np.uint8)
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    square = Image.fromarray(image[top : top + side, left : left + side])
    wanted = np.asarray(square.resize((8, 8), Image.Resampling.LANCZOS))
    assert np.array_equal(pixels_of_image(Image.fromarray(image), COLOUR), wanted)


def test_a_net_that_is_not_square_sees_its_own_aspect_ratio() -> None:
    rule = COLOUR.model_copy(update={"width": 16})
    image = np.zeros((20, 20, 3), np.uint8)
    image[5:15] = 255
    assert (pixels_of_image(Image.fromarray(image), rule) == 255).all()
    image[5:15] = 0
    image[:5] = image[15:] = 255
    assert (pixels_of_image(Image.fromarray(image), rule) == 0).all()


def test_nothing_aliases() -> None:
    stripes = np.zeros((128, 128, 3), np.uint8)
    stripes[:, ::2] = 255
    inside = next(pixels_of_array(stripes, COLOUR))[1:-1, 1:-1].astype(int)
    assert np.abs(inside - 127.5).max() < 3


def test_images_as_data_resize_makes_them_are_the_same(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for label in ("a", "b"):
        for number in range(4):
            image = random.integers(0, 256, (20, 20, 3)).astype(np.uint8)
            saved(tmp_path / "data" / label / f"{number}.png", image)
    data = load_data(load_recipe("digits", [f"data.source={tmp_path / 'data'}", "data.resize=8"]).data)
    theirs = {image.tobytes() for split in (data.train, data.test) for image in split.images}
    assert {pixels_of(item.name, COLOUR).tobytes() for item in items_of(tmp_path / "data")} == theirs


def test_arrays_of_other_kinds_are_refused() -> None:
    for array in (np.zeros((8, 8)), np.zeros((2, 8, 8), np.uint8), np.zeros((0, 8, 3), np.uint8)):
        with pytest.raises(ImageError, match=r"expected uint8 \(H, W\)"):
            list(pixels_of_array(array, GREY))


def test_pillow_images_arrays_and_paths_together(tmp_path: Path) -> None:
    digits = cs.load("digits")
    image = np.zeros((8, 8, 1), np.uint8)
    image[:, 3:5] = 255
    name = saved(tmp_path / "one.png", image)
    found = digits.predict([Image.fromarray(image[..., 0]), np.stack([image, image]), image[..., 0], name])
    assert [each.image for each in found] == ["image 0", "image 1", "image 2", "image 3", name]
    assert len({each.top for each in found}) == 1
    assert cs.predict(digits, image, top_k=1)[0].top[0][0] == found[0].label
    with pytest.raises(ImageError, match="at least 1"):
        digits.predict(image, top_k=0)


# --- where images come from ---


class _Server(BaseHTTPRequestHandler):
    png = b""

    def do_GET(self) -> None:
        if self.path == "/to-a-file":
            self.send_response(302)
            self.send_header("Location", "file:///etc/hostname")
            self.end_headers()
        elif self.path == "/moved":
            self.send_response(302)
            self.send_header("Location", "/one.png")
            self.end_headers()
        elif self.path == "/slow":
            self.send_response(200)
            self.end_headers()
            for _ in range(40):
                self.wfile.write(b"x")
                self.wfile.flush()
                time.sleep(0.05)
        elif self.path in {"/one.png", "/large"}:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(self.png * (1000 if self.path == "/large" else 1))
        else:
            self.send_error(404)

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    content = io.BytesIO()
    Image.fromarray(np.tile(np.array([0, 0, 0, 255, 255, 0, 0, 0], np.uint8), (8, 1))).save(content, "PNG")
    _Server.png = content.getvalue()
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with ThreadingHTTPServer(("127.0.0.1", 0), _Server) as serving:
        threading.Thread(target=serving.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{serving.server_port}"
        serving.shutdown()


def test_images_come_from_addresses(server: str) -> None:
    found = cs.predict("digits", [f"{server}/one.png", f"{server}/moved"])
    assert found[0].top == found[1].top
    assert found[0].image == f"{server}/one.png"


@pytest.mark.parametrize(
    ("page", "told"),
    [
        ("/nothing", "404"),
        ("/to-a-file", "not allowed"),
        ("/slow", "0.3 seconds"),
        ("/large", "more than 5,000 bytes"),
    ],
)
def test_addresses_that_give_no_image(server: str, page: str, told: str) -> None:
    with pytest.raises(UnusableImageError, match=told):
        fetch(server + page, seconds=0.3, most=5000)


def test_an_address_at_which_nobody_answers_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert command(["predict", "digits", "http://127.0.0.1:9/one.png"]) == 1
    assert (
        "error[E072]: http://127.0.0.1:9/one.png: unreadable image: cannot be fetched"
        in capsys.readouterr().err
    )


def test_files_folders_patterns_and_what_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("b/2.png", "b/1.PNG", "b/c/3.jpg", "b/.hidden/4.png", "one.png", "d[1].png"):
        saved(Path(name), np.zeros((8, 8), np.uint8), format="JPEG" if name.endswith("jpg") else "PNG")
    Path("b/notes.txt").write_text("x")
    assert [item.name for item in items_of(["one.png", "b", "*.png", Path("d[1].png")])] == [
        "one.png", "b/1.PNG", "b/2.png", "b/c/3.jpg", "d[1].png", "one.png", "d[1].png"
    ]  # fmt: skip
    assert [item.name for item in items_of("**/*.jpg")] == ["b/c/3.jpg"]
    Path("empty").mkdir()
    with pytest.raises(FileError) as caught:
        items_of(["one.png", "empty", "no.png", "*.bmp"])
    assert [problem.where for problem in caught.value.problems] == ["empty", "no.png", "*.bmp"]


def test_standard_input_is_an_image(monkeypatch: pytest.MonkeyPatch, server: str) -> None:
    given = io.TextIOWrapper(io.BytesIO(_Server.png))
    monkeypatch.setattr("sys.stdin", given)
    found = cs.predict("digits", ["-", f"{server}/one.png"])
    assert found[0].image == "-"
    assert found[0].top == found[1].top


# --- many images, some of them bad ---


@pytest.fixture
def mixed(tmp_path: Path, test_images: np.ndarray) -> Path:
    folder = tmp_path / "mixed"
    for number in range(6):
        saved(folder / f"{number}.png", test_images[number])
    whole = (folder / "0.png").read_bytes()
    (folder / "2.png").write_bytes(whole[: len(whole) // 2])
    (folder / "4.png").write_bytes(b"")
    (folder / "=cmd().png").write_text("text")
    bomb = b"IHDR" + struct.pack(">IIBBBBB", 50_000, 50_000, 8, 0, 0, 0, 0)
    import zlib

    (folder / "bomb.png").write_bytes(whole[:12] + bomb + struct.pack(">I", zlib.crc32(bomb)) + whole[33:])
    Image.fromarray(np.zeros((8, 8), np.uint16)).save(folder / "wide.png")
    return folder


BAD = ("2.png", "4.png", "=cmd().png", "bomb.png", "wide.png")


def test_bad_images_are_named_and_the_others_predicted(
    mixed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path.name: reading.sha256(path) for path in mixed.iterdir()}
    monkeypatch.chdir(mixed)
    paths = ["--csv", str(tmp_path / "a.csv"), "--jsonl", str(tmp_path / "a.jsonl")]
    assert command(["predict", "digits", *sorted(before), "--json", "--top-k", "2", *paths]) == 1
    out, err = capsys.readouterr()
    assert [line.split(": ")[1] for line in err.splitlines()] == list(BAD)
    records = json.loads(out)
    assert [each["image"] for each in records] == sorted(before)
    assert [each["image"] for each in records if "error" in each] == list(BAD)
    assert all(len(each["top"]) == 2 for each in records if "error" not in each)
    assert [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()] == records
    rows = list(csv.DictReader((tmp_path / "a.csv").read_text().splitlines()))
    assert [row["image"].removeprefix("'") for row in rows] == sorted(before)
    assert next(row for row in rows if "cmd" in row["image"])["image"] == "'=cmd().png"
    for row, record in zip(rows, records, strict=True):
        assert row["label"] == record.get("label", "")
        assert bool(row["error"]) == ("error" in record)
    assert {path.name: reading.sha256(path) for path in mixed.iterdir()} == before


def test_from_python_one_error_names_all_and_the_stream_goes_on(mixed: Path) -> None:
    digits = cs.load("digits")
    with pytest.raises(ImageError) as caught:
        digits.predict(mixed)
    assert [Path(problem.where).name for problem in caught.value.problems] == list(BAD)
    kinds = [type(each) for each in digits.stream(mixed, batch_size=2)]
    assert kinds.count(UnreadableImage) == len(BAD)
    assert kinds.count(Prediction) == 4


def test_one_batch_is_in_memory() -> None:
    read: list[int] = []

    def item(number: int) -> Item:
        def pixels(_: Preprocessing) -> np.ndarray:
            read.append(number)
            return np.zeros((8, 8, 1), np.uint8)

        return Item(name=str(number), read=pixels)

    answers = cs.load("digits").answers((item(number) for number in range(100)), batch_size=8)
    for number, answer in enumerate(answers):
        assert answer.image == str(number)
        assert len(read) == 8 * (number // 8 + 1) or len(read) == 100


def test_lines_and_interrupted_files(
    mixed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(["predict", "digits", str(mixed / "0.png")]) == 0
    assert capsys.readouterr().out.startswith(f"{mixed / '0.png'}: ")

    def interrupted() -> None:
        with files.atomic_text(tmp_path / "rows.txt") as add:
            add("first\n")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert (tmp_path / "rows.txt").read_text() == "first\n"
    assert command(["predict", "digits", str(mixed / "0.png"), "--csv", str(tmp_path / "no" / "a.csv")]) == 2
    assert "error[E010]" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mixed", "rows.txt"]


def test_a_net_whose_answers_are_no_numbers_is_told() -> None:
    digits = cs.load("digits")
    with torch.no_grad():
        for each in digits.net.parameters():
            each.fill_(1e38)
    with pytest.raises(BundleError, match="no finite numbers"):
        digits.predict(np.full((8, 8, 1), 255, np.uint8))


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "--bundle DIR, --onnx FILE, or --code"),
        (["--int8"], "--onnx model.onnx"),
        (["train.epochs=3", "--onnx", "a.onnx"], "train.epochs=3: a trained net cannot be changed"),
    ],
)
def test_exports_that_make_no_sense(
    arguments: list[str],
    told: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert command(["export", "digits", *arguments]) == 2
    assert told in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


# --- the zoo ---


def test_the_zoo_is_small_whole_and_of_the_shelf() -> None:
    assert set(zoo_names()) <= {recipe.name for recipe in cs.list_recipes()}
    for name in zoo_names():
        folder = zoo_folder(name)
        assert sum(path.stat().st_size for path in folder.iterdir()) < 1_000_000
        facts = bundle.read(folder).metadata
        recipe = cs.load_recipe(name)
        assert (facts.name, facts.spec.net) == (name, recipe.model.net)
        assert f"convsmith train {name} seed={facts.origin.seed}" in (folder / "README.md").read_text()
    with pytest.raises(ConvsmithError, match="no trained net"):
        zoo_folder("resnet")


def test_the_best_of_the_zoo_on_a_data_set() -> None:
    measured = {name: bundle.read(zoo_folder(name)).metadata for name in zoo_names()}
    for data in {facts.origin.data.source for facts in measured.values()}:
        shares = {
            name: facts.measured.correct / facts.measured.total
            for name, facts in measured.items()
            if facts.origin.data.source == data
        }
        best = zoo_name(f"{data}-best")
        assert best is not None
        assert shares[best] == max(shares.values())
        assert zoo_folder(f"{data}-best") == zoo_folder(best)
    assert (zoo_name("best"), zoo_name("resnet-best")) == (None, None)
    assert cs.load("digits-best").labels == cs.load("digits").labels
    settled = with_absolute_paths(cs.load_recipe("digits", "train.teacher=digits-best"))
    assert settled.train.teacher == "digits"
    with pytest.raises(BundleError, match="did you mean 'cifar10-best'"):
        cs.load("cifar-best")


def stated_accuracy_holds(name: str) -> None:
    facts = bundle.read(zoo_folder(name)).metadata
    test = load_data(facts.origin.data).test
    found = cs.load(name).logits(test.images).argmax(1)
    right = found == test.labels
    assert len(test) == facts.measured.total
    # Another processor may sum in another order: two near-equal classes then change places.
    assert abs(int(right.sum()) - facts.measured.correct) <= 3
    for label, counted in enumerate(facts.measured.classes):
        assert abs(int(right[test.labels == label].sum()) - counted.correct) <= 3


def test_the_stated_accuracy_of_digits_is_what_its_weights_give() -> None:
    stated_accuracy_holds("digits")


@pytest.mark.slow
@pytest.mark.real_data
@pytest.mark.parametrize("name", [name for name in zoo_names() if name != "digits"])
def test_the_stated_accuracy_is_what_the_weights_give(name: str, real_data: Path) -> None:
    stated_accuracy_holds(name)
