"""The schema of a bundle: closed vocabularies."""

import json
from pathlib import Path
from typing import Any

import pytest

import convsmith as cs
from convsmith.errors import BundleError
from helpers.bundles import rewritten


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("format",), 3, "another version of convsmith: format 3"),
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
