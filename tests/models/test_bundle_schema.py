"""The schema of a bundle: closed vocabularies."""

import json
from pathlib import Path
from typing import Any

import pytest

import convsmith as cs
from convsmith.errors import BundleError
from helpers.bundles import rewritten
from helpers.oracle import Oracle


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("format",), 4, "another version of convsmith: format 4"),
        (("format",), 3, "expected format 3 for a module, and only for one"),
        (("spec", "net"), "C8 os.system / G F10", "spec.net"),
        (("spec", "net"), "C8 C16:s2 / G F11", "11 outputs for 10 labels"),
        (("spec", "net"), "F65536 F65536 F65536 F10", "tensor"),
        (("spec", "activation"), "torch.nn.ReLU", "spec.activation"),
        (("preprocessing", "height"), 10**9, "preprocessing.height"),
        (("preprocessing", "std"), [0.0], "preprocessing.std"),
        (("preprocessing", "sizes"), "eval('1')", "preprocessing.sizes"),
        (("confidence", "temperature"), 0.0, "confidence.temperature"),
        (("__class__",), "x", "__class__"),
        (("labels",), ["a"] * 11, "the counts of 10 classes for 11 labels"),
        (("labels",), ["a"] * 2, "the counts of 10 classes for 2 labels"),
        (("labels",), ["a"] * 10, "two labels are equal"),
        (("labels",), ["", *"abcdefghi"], "or one is empty"),
        (("measured", "unsure"), 0.5, "contradict the correct predictions"),
        (("measured", "unsure_among_wrong"), 0.125, "contradict the correct predictions"),
        (("measured", "accuracy_if_sure"), 0.5, "contradict the correct predictions"),
        (("measured", "correct"), 9_999, "in all classes, 9,999 of "),
        (("measured", "total"), 10_000, "in all classes, "),
        (("measured", "low"), 1.0, "not in its interval"),
        (("measured", "high"), 0.0, "not in its interval"),
        (("measured", "unsure_among_wrong"), None, "expected a share of unsure predictions"),
        (("measured", "accuracy_if_sure"), None, "expected an accuracy of sure predictions"),
        (("measured", "classes"), [{"correct": 2, "total": 1}] * 10, "more images of a class are correct"),
        (("weights", "correct_fp16"), 1, "the correct predictions of the weights"),
        (("weights", "correct_fp32"), 10_000, "the correct predictions of the weights"),
        (("confidence", "images"), 7, "another number of test images"),
        (("confidence", "temperature"), 1e-320, "confidence.temperature"),
        (("origin", "seconds"), 1e999, "Infinity"),
        (("origin", "seed"), 10**4000, "a number of 13,288 bits"),
        (("weights", "format"), "fp32", "expected torch.float32"),
    ],
)  # fmt: skip
def test_values_outside_of_the_schema_are_refused(
    bundle_copy: Path, path: tuple[str, ...], value: Any, message: str
) -> None:
    metadata = json.loads((bundle_copy / "bundle.json").read_text())
    table = metadata
    for key in path[:-1]:
        table = table[key]
    table[path[-1]] = value
    with pytest.raises(BundleError) as caught:
        cs.load(rewritten(bundle_copy, "bundle.json", json.dumps(metadata).encode()))
    assert message in str(caught.value)


@pytest.mark.parametrize("name", ["bundle.json", "manifest.json"])
@pytest.mark.parametrize("command", [["summary"], ["check"], ["predict", "image.png"]])
def test_duplicate_keys_are_refused(bundle_copy: Path, name: str, command: list[str]) -> None:
    text = (bundle_copy / name).read_text()
    twice = text.replace("{", '{"format": 1,' if name == "bundle.json" else '{"README.md": {},', 1)
    if name == "bundle.json":
        rewritten(bundle_copy, name, twice.encode())
    else:
        (bundle_copy / name).write_text(twice)
    with pytest.raises(BundleError, match="duplicate key"):
        cs.resolve(str(bundle_copy))
    oracle = Oracle(bundle_copy)
    oracle.expect_error(
        command[0], str(bundle_copy), *command[1:], code="E070" if len(command) < 2 else "E010"
    )
