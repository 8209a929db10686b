"""A stranger's ONNX file on the command line: its weights, as a run folder, and trained further."""

from __future__ import annotations

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")

from helpers import run_command  # noqa: E402 - onnx may be missing
from onnx_models import model, node, random  # noqa: E402 - onnx may be missing


@pytest.fixture
def stranger(tmp_path, monkeypatch):
    """`model.onnx`, which tells ten classes of digits apart, in the folder that is the current one."""
    monkeypatch.chdir(tmp_path)
    nodes = [
        node("Conv", "x w b", "c", pads=[1, 1, 1, 1]),
        node("Relu", "c", "r"),
        node("GlobalAveragePool", "r", "p"),
        node("Flatten", "p", "f"),
        node("Gemm", "f v", "y", transB=1),
    ]
    tensors = {"w": random(4, 1, 3, 3), "b": random(4), "v": random(10, 4)}
    (tmp_path / "model.onnx").write_bytes(
        model(nodes, [("x", ["N", 1, 8, 8])], list(tensors.items())).SerializeToString()
    )
    return tensors


def said(*words: str, code: int = 0) -> str:
    return run_command(*words, code=code).output


def test_an_onnx_file_becomes_a_run_that_is_evaluated(stranger):
    from safetensors.numpy import load_file

    output = said("weights", "model.onnx", "--run", "run", "--out", "w.safetensors")
    assert "2 layers of model.onnx have the weights that are with it in the file." in output
    assert sorted(map(np.size, load_file("w.safetensors").values())) == [4, 36, 40]
    assert "1,797 images" in said("evaluate", "run", "--data", "digits")


def test_a_file_in_place_of_a_run_is_refused_with_what_makes_one(stranger):
    for command in (["evaluate", "model.onnx"], ["predict", "model.onnx", "x.png"]):
        assert "`cnnatomy weights model.onnx --run runs/model`" in said(*command, code=2)


def written(name, *nodes, outputs=("y",), **tensors):
    proto = model(
        [node("Conv", "x w", "c"), *nodes], [("x", ["N", 1, 8, 8])], [("w", random(4, 1, 3, 3)), *tensors.items()]
    )
    del proto.graph.output[:]
    proto.graph.output.extend(onnx.helper.make_tensor_value_info(one, 1, None) for one in outputs)
    with open(name, "wb") as file:
        file.write(proto.SerializeToString())


POOLED = node("GlobalAveragePool", "c", "p"), node("Flatten", "p", "f")


def test_an_activation_at_the_end_that_predict_does_not_undo_is_said(stranger):
    written("end.onnx", *POOLED, node("Sigmoid", "f", "y"))
    output = said("weights", "end.onnx", "--run", "run")
    assert "Note: the network ends with Sigmoid (y). `predict` computes the softmax of that" in output
    written("end.onnx", *POOLED, node("Softmax", "f", "y"))
    assert "Note:" not in said("weights", "end.onnx", "--run", "other")


def test_what_is_no_classifier_is_refused_as_a_run_and_written_as_weights(stranger):
    """A map for each image: nobody gave --names."""
    written("map.onnx", node("Relu", "c", "y"))
    output = said("weights", "map.onnx", "--run", "run", code=2)
    assert "the head gives 4x6x6, one label needs 4: map.onnx has the classes" in output
    assert "--names" not in output
    assert "Weights: w.safetensors" in said("weights", "map.onnx", "--out", "w.safetensors")


def test_two_outputs_are_refused_with_what_they_must_be(stranger):
    written("two.onnx", *POOLED, node("Relu", "f", "y"), outputs=("y", "f"))
    assert "of one input and one output. " in said("weights", "two.onnx", code=2)


def test_batch_norms_are_blamed_only_where_there_are_some(stranger):
    written("other.onnx", *POOLED, node("Relu", "f", "y"))
    assert "batch norms" not in said("weights", "lenet-5", "--input", "1x32x32", "--from", "other.onnx", code=2)
    assert "batch norms" not in said("weights", "model.onnx", "--from", "other.onnx", code=2)


@pytest.mark.slow
def test_a_training_begins_with_the_weights_of_the_file(stranger):
    output = said("train", "model.onnx", "--data", "digits", "--start", "pretrained", "--epochs", "1", "--out", "run")
    assert "weights of model.onnx, all of them" in output
