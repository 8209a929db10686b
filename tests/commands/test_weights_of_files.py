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


@pytest.mark.slow
def test_a_training_begins_with_the_weights_of_the_file(stranger):
    output = said("train", "model.onnx", "--data", "digits", "--start", "pretrained", "--epochs", "1", "--out", "run")
    assert "weights of model.onnx, all of them" in output
