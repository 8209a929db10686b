"""Networks that others made, from ONNX, prototxt and Python: trained, evaluated, predicted with, and given weights."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from click.testing import Result
from onnx import helper
from PIL import Image
from safetensors.torch import load_file, save_file

from helpers import run_command

Command = Callable[..., Result]

MODULE = """
import torch
from torch import nn

class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.bn = nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4)

    def forward(self, x):
        return torch.relu(x + self.bn(self.conv(x)))

class Net(nn.Module):
    def __init__(self, classes=2):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, stride=4)
        self.blocks = nn.ModuleList([Residual(), Residual()])
        self.drop, self.fc = nn.Dropout(0.2), nn.Linear(4, classes)

    def forward(self, x):
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
        return self.fc(self.drop(x.mean((2, 3))))

def thousand():
    return Net(1000)

class Attention(nn.Module):
    def forward(self, x):
        return nn.functional.scaled_dot_product_attention(x, x, x)

def attends():
    return nn.Sequential(nn.Conv2d(3, 4, 3), Attention())

def flat():
    return nn.Linear(8, 2)
"""

PROTOTXT = """
name: "LeNet"
input: "data" input_dim: 1 input_dim: 3 input_dim: 16 input_dim: 16
layer { name: "conv1" type: "Convolution" bottom: "data" top: "conv1"
  convolution_param { num_output: 4 kernel_size: 5 } }
layer { name: "pool1" type: "Pooling" bottom: "conv1" top: "pool1"
  pooling_param { pool: MAX kernel_size: 2 stride: 2 } }
layer { name: "ip1" type: "InnerProduct" bottom: "pool1" top: "ip1" inner_product_param { num_output: 8 } }
layer { name: "relu1" type: "ReLU" bottom: "ip1" top: "ip1" }
layer { name: "ip2" type: "InnerProduct" bottom: "ip1" top: "ip2" inner_product_param { num_output: 10 } }
layer { name: "prob" type: "Softmax" bottom: "ip2" top: "prob" }
"""


def lenet(path: Path) -> None:
    """An ONNX file of a small LeNet with two classes, written node by node."""
    sizes = {"w1": (4, 3, 5, 5), "b1": (4,), "w2": (8, 4 * 36), "b2": (8,), "w3": (2, 8), "b3": (2,)}
    nodes = [
        helper.make_node("Conv", ["x", "w1", "b1"], ["c"], name="conv"),
        helper.make_node("Relu", ["c"], ["r"], name="relu"),
        helper.make_node("MaxPool", ["r"], ["p"], name="pool", kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Flatten", ["p"], ["f"], name="flatten"),
        helper.make_node("Gemm", ["f", "w2", "b2"], ["g"], name="fc1", transB=1),
        helper.make_node("Relu", ["g"], ["h"], name="relu2"),
        helper.make_node("Gemm", ["h", "w3", "b3"], ["y"], name="fc2", transB=1),
    ]
    tensors = [onnx.numpy_helper.from_array(np.zeros(size, np.float32), name) for name, size in sizes.items()]
    x, y = (
        helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, s) for n, s in (("x", [1, 3, 16, 16]), ("y", None))
    )
    graph = helper.make_graph(nodes, "lenet", [x], [y], tensors)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Command:
    """Runs a command in a folder with the three networks and ten images of each of two classes."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "nets_to_train", raising=False)
    Path("nets_to_train.py").write_text(MODULE)
    Path("net.prototxt").write_text(PROTOTXT)
    lenet(Path("LeNet.onnx"))
    for level, name in enumerate(("dark", "bright")):
        (tmp_path / "data" / name).mkdir(parents=True)
        for number in range(10):
            noise = np.random.default_rng([level, number]).integers(120 * level, 120 * level + 100, (16, 16, 3))
            Image.fromarray(noise.astype(np.uint8)).save(tmp_path / "data" / name / f"{number}.png")

    return run_command


SOURCES = [
    ("LeNet.onnx", "lenet", "classified by fc2, FullyConnected(2)"),
    ("net.prototxt", "net", "classified by ip2, FullyConnected(2)"),
    ("python:nets_to_train:Net", "net", "classified by fc, FullyConnected(2)"),
]


@pytest.mark.parametrize(("source", "folder", "said"), SOURCES)
def test_what_others_made_is_trained_and_used_when_its_source_is_gone(run, source, folder, said) -> None:
    shape = ["--input", "3x16x16"] if source.startswith("python") else []
    output = run("train", source, "--data", "data", "--epochs", "1", "--batch-size", "16", *shape).output
    assert said in output
    place = Path("runs") / folder
    for path in ("LeNet.onnx", "net.prototxt", "nets_to_train.py"):
        Path(path).unlink()
    sys.modules.pop("nets_to_train", None)
    summary = json.loads((place / "summary.json").read_text())
    assert summary["network"] == source
    told = json.loads(run("evaluate", place, "--format", "json").stdout)
    assert told["confusion_matrix"] == summary["test"]["confusion_matrix"]
    answer = run("predict", place, "data/dark/0.png").output
    assert {word for word in answer.split() if word in ("dark", "bright")} == {"dark", "bright"}
    assert "conv" in run("show", place / "design.yaml").output
    assert run("train", place / "design.yaml", "--data", "data", "--epochs", "1", "--out", "again").output


def test_an_interrupted_run_goes_on_and_another_network_is_refused(run) -> None:
    arguments = ("--data", "data", "--epochs", "1", "--out", "run")
    run("train", "LeNet.onnx", *arguments)
    Path("run/summary.json").unlink()
    run("train", "LeNet.onnx", *arguments, "--resume")
    assert "is complete already" in run("train", "LeNet.onnx", *arguments, "--resume").output
    assert "is complete already" in run("train", "run/design.yaml", *arguments, "--resume").output
    assert "holds a run of another network" in run("train", "net.prototxt", *arguments, "--resume", code=2).stderr


def test_the_tensors_have_the_names_of_the_module(run) -> None:
    run("train", "python:nets_to_train:Net", "--data", "data", "--epochs", "1", "--input", "3x16x16", "--out", "run")
    names = {name.replace("blocks.", "blocks_") for name in sys.modules["nets_to_train"].Net().state_dict()}
    assert set(load_file("run/model.safetensors")) == names
    assert "Dropout: {rate: 0.2}" in Path("run/design.yaml").read_text()


def test_a_last_layer_of_a_thousand_classes_gets_those_of_the_data(run) -> None:
    run(
        "train",
        "python:nets_to_train:thousand",
        "--data",
        "data",
        "--epochs",
        "1",
        "--input",
        "3x16x16",
        "--out",
        "run",
    )
    assert load_file("run/model.safetensors")["fc.weight"].shape == (2, 4)


MISTAKES = [
    (["train", "python:nets_to_train:attends", "--data", "data"], "scaled_dot_product_attention"),
    (["train", "LeNet.onnx", "--data", "data", "--input", "1x16x16"], "conv"),
    (["train", "net.prototxt", "--data", "data", "--input", "3x4x4"], "conv1"),
    (["train", "none.onnx", "--data", "data"], "cannot read the ONNX file"),
    (["weights", "python:nets_to_train:attends", "--from", "w.safetensors"], "scaled_dot_product_attention"),
]


@pytest.mark.parametrize(("arguments", "message"), MISTAKES)
def test_a_mistake_gets_one_clear_message(run, arguments, message) -> None:
    result = run(*arguments, code=2)
    assert message in result.stderr
    assert result.stderr.startswith("cnnatomy: ")
    assert not Path("runs").exists()


def test_a_network_that_reads_no_image_is_refused(run) -> None:
    Path("vector.yaml").write_text("input: [8]\nnodes: [{fc: {FullyConnected: {features: 2}}}]")
    assert "reads 8 numbers, no image" in run("train", "vector.yaml", "--data", "data", code=2).stderr


def test_weights_of_a_file_go_into_a_module_of_ones_own(run) -> None:
    run("show", "python:nets_to_train:Net", "--input", "3x16x16")
    module = sys.modules["nets_to_train"].Net(7).eval()
    save_file(module.state_dict(), "seven.safetensors")
    arguments = ["--input", "3x16x16", "--classes", "7"]
    run("weights", "python:nets_to_train:Net", "--from", "seven.safetensors", *arguments, "--run", "run")
    from cnnatomy.training import Trained

    trained = Trained.load("run", "cpu")
    images = torch.randint(0, 256, (4, 3, 16, 16), dtype=torch.uint8)
    mean, std = (
        torch.tensor(x).view(1, 3, 1, 1) for x in (trained.run.normalisation.mean, trained.run.normalisation.std)
    )
    expected = module((images / 255 - mean) / std).softmax(1)
    torch.testing.assert_close(trained.probabilities(images), expected)
