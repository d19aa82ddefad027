"""The ONNX model of a classifier."""

import json

import onnx

from convsmith.models import bundle
from convsmith.models.zoo import zoo_folder
from helpers.paths import ROOT


def test_the_metadata_describes_the_usage(model: bytes) -> None:
    metadata = bundle.read(zoo_folder("digits")).metadata
    proto = onnx.load_from_string(model)
    properties = {entry.key: entry.value for entry in proto.metadata_props}
    assert tuple(json.loads(properties["labels"])) == metadata.labels
    assert json.loads(properties["mean"]) == list(metadata.preprocessing.mean)
    assert json.loads(properties["temperature"]) == metadata.confidence.temperature
    assert json.loads(properties["unsure_below"]) == metadata.confidence.unsure_below
    assert properties["input"] == "uint8 (N, 8, 8, 1), grey"
    (graph_input,) = proto.graph.input
    assert [each.dim_param or each.dim_value for each in graph_input.type.tensor_type.shape.dim] == [
        "batch",
        8,
        8,
        1,
    ]
    assert not any(tensor.external_data for tensor in proto.graph.initializer)
    # No paths of this machine.
    assert b"site-packages" not in model
    assert str(ROOT).encode() not in model
