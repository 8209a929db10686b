"""Caffe's files of weights: torch, called by hand on the blobs, says what the networks compute."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file
from torch.nn import functional

import cnnatomy as cn
from caffe_models import caffemodel
from cnnatomy.cli import main
from cnnatomy.readers import read_stored
from cnnatomy.readers.caffe.caffemodel import in_order, read
from cnnatomy.runs.weights.sources import with_weights
from helpers import mutations

X = torch.randn(2, 3, 9, 7, generator=torch.Generator().manual_seed(0))


def random(*sizes: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=sizes).astype(np.float32)


def positive(*sizes: int) -> np.ndarray:
    return np.abs(random(*sizes)) + np.float32(0.5)


def prototxt(*layers: str) -> str:
    """A chain of layers: each is its type, and what else stands in it."""
    text = ['input: "l0" input_shape { dim: 1 dim: 3 dim: 9 dim: 7 }']
    for i, layer in enumerate(layers):
        kind, _, options = layer.partition(" ")
        text.append(f'layer {{ name: "l{i + 1}" type: "{kind}" bottom: "l{i}" top: "l{i + 1}" {options} }}')
    return "\n".join(text)


def tensor(array: np.ndarray) -> torch.Tensor:
    return torch.tensor(array)


W, B, SQUARE = random(4, 3, 3, 3), random(4), random(3, 4, 2, 2)
MEAN, VARIANCE, GAIN, SHIFT = random(3), positive(3), random(3, seed=1), random(3, seed=2)
FLAT = random(5, 189)
NORMS = [("l1", "BatchNorm", [MEAN * 4, VARIANCE * 4, np.float32([4])])]

Case = tuple[str, list[tuple[str, str, list[np.ndarray]]], Callable[[torch.Tensor], torch.Tensor]]
CASES: dict[str, Case] = {
    "convolution": (
        prototxt("Convolution convolution_param { num_output: 4 kernel_size: 3 pad: 1 }"),
        [("l1", "Convolution", [W, B])],
        lambda x: functional.conv2d(x, tensor(W), tensor(B), padding=1),
    ),
    "convolution of groups": (
        prototxt("Convolution convolution_param { num_output: 6 kernel_size: 3 group: 3 bias_term: false }"),
        [("l1", "Convolution", [random(6, 1, 3, 3)])],
        lambda x: functional.conv2d(x, tensor(random(6, 1, 3, 3)), groups=3),
    ),
    "deconvolution": (
        prototxt("Deconvolution convolution_param { num_output: 4 kernel_size: 2 stride: 2 }"),
        [("l1", "Deconvolution", [SQUARE, B])],
        lambda x: functional.conv_transpose2d(x, tensor(SQUARE), tensor(B), stride=2),
    ),
    "inner product": (
        prototxt("InnerProduct inner_product_param { num_output: 5 }"),
        [("l1", "InnerProduct", [FLAT, random(5)])],
        lambda x: functional.linear(x.flatten(1), tensor(FLAT), tensor(random(5))),
    ),
    "inner product, transposed": (
        prototxt("InnerProduct inner_product_param { num_output: 5 transpose: true bias_term: false }"),
        [("l1", "InnerProduct", [np.ascontiguousarray(FLAT.T)])],
        lambda x: functional.linear(x.flatten(1), tensor(FLAT)),
    ),
    "batch norm, whose statistics are sums": (
        prototxt("BatchNorm"),
        NORMS,
        lambda x: functional.batch_norm(x, tensor(MEAN), tensor(VARIANCE)),
    ),
    "batch norm that saw nothing": (
        prototxt("BatchNorm batch_norm_param { eps: 1 }"),
        [("l1", "BatchNorm", [MEAN, VARIANCE, np.float32([0])])],
        lambda x: x,
    ),
    "batch norm and scale": (
        prototxt("BatchNorm", "Scale scale_param { bias_term: true }"),
        [*NORMS, ("l2", "Scale", [GAIN, SHIFT])],
        lambda x: functional.batch_norm(x, tensor(MEAN), tensor(VARIANCE), tensor(GAIN), tensor(SHIFT)),
    ),
    "scale": (
        prototxt("Scale scale_param { bias_term: true }"),
        [("l1", "Scale", [GAIN, SHIFT])],
        lambda x: x * tensor(GAIN)[:, None, None] + tensor(SHIFT)[:, None, None],
    ),
    "bias": (
        prototxt("Bias"),
        [("l1", "Bias", [SHIFT])],
        lambda x: x + tensor(SHIFT)[:, None, None],
    ),
    "PReLU": (
        prototxt("PReLU"),
        [("l1", "PReLU", [GAIN])],
        lambda x: functional.prelu(x, tensor(GAIN)),
    ),
}


def files(folder: Path, net: str, content: bytes) -> tuple[str, str]:
    """The paths of a network and of its weights."""
    (folder / "net.prototxt").write_text(net)
    (folder / "net.caffemodel").write_bytes(content)
    return str(folder / "net.prototxt"), str(folder / "net.caffemodel")


def built(folder: Path, net: str, content: bytes) -> torch.nn.Module:
    """The network with its weights."""
    name, weights = files(folder, net, content)
    return with_weights(read_stored(name, weights=weights), weights)


@pytest.mark.parametrize("name", CASES)
def test_a_network_with_its_weights_computes_what_caffe_says(tmp_path, name):
    net, layers, expected = CASES[name]
    module = built(tmp_path, net, caffemodel(layers))
    with torch.no_grad():
        torch.testing.assert_close(module(X), expected(X), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("version", [0, 1, 2])
@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("double", [True, False])
def test_files_of_all_ages_hold_the_same(tmp_path, version, packed, double):
    _, path = files(tmp_path, "", caffemodel([("a", "Convolution", [W, B])], version, packed, double))
    (layer,) = read(Path(path))
    assert layer.name == "a"
    np.testing.assert_array_equal(layer.blobs[0], W)
    np.testing.assert_array_equal(layer.blobs[1].reshape(-1), B)


@pytest.mark.parametrize("version", [0, 1])
@pytest.mark.parametrize(
    "name", ["convolution of groups", "deconvolution", "inner product", "inner product, transposed"]
)
def test_files_whose_blobs_have_four_sizes_compute_the_same(tmp_path, name, version):
    net, layers, expected = CASES[name]
    module = built(tmp_path, net, caffemodel(layers, version))
    with torch.no_grad():
        torch.testing.assert_close(module(X), expected(X), rtol=1e-5, atol=1e-5)


SQUARES = random(3, 3, 3, 3) / 10
SHARED = prototxt(
    *["Convolution param { name: 'w' } convolution_param { num_output: 3 kernel_size: 3 pad: 1 bias_term: false }"] * 2,
    "InnerProduct inner_product_param { num_output: 5 }",
)


@pytest.mark.parametrize("command", [["weights", "--from"], ["train", "--start", "--data", "digits"]])
def test_layers_that_share_their_weights_get_them_each(tmp_path, monkeypatch, command):
    """Caffe keeps them once for each layer; only without weights such a network cannot be built here."""
    net = SHARED.replace("dim: 3 dim: 9 dim: 7", "dim: 3 dim: 8 dim: 8")
    head = [random(5, 192) / 10, random(5)]
    layers = [("l1", "Convolution", [SQUARES]), ("l2", "Convolution", [SQUARES]), ("l3", "InnerProduct", head)]
    name, weights = files(tmp_path, net, caffemodel(layers))
    monkeypatch.chdir(tmp_path)
    verb, option, *more = command
    last = ["--out", "x.safetensors"] if verb == "weights" else ["--out", "run", "--epochs", "1", *more]
    done = CliRunner().invoke(main, [verb, name, option, weights, *last])
    assert done.exit_code == 0, done.output
    if verb == "weights":
        state = load_file(tmp_path / "x.safetensors")
        assert [key for key in state if torch.equal(state[key], tensor(SQUARES))] == ["l1.weight", "l2.weight"]


@pytest.mark.parametrize("version", [1, 2])
def test_without_a_prototxt_tensors_have_the_names_of_their_layers(tmp_path, version):
    layers = [("c", "Convolution", [W, B]), ("ip", "InnerProduct", [FLAT, random(5)])]
    _, path = files(tmp_path, "", caffemodel(layers, version))
    found = {name: array.shape for name, array in in_order(path)}
    assert found == {"c.weight": (4, 3, 3, 3), "c.bias": (4,), "ip.weight": (5, 189), "ip.bias": (5,)}


def test_a_batch_norm_and_the_scale_after_it_are_one(tmp_path):
    _, path = files(tmp_path, "", caffemodel([*NORMS, ("l2", "Scale", [GAIN, SHIFT])]))
    found = dict(in_order(path))
    assert list(found) == ["l1.running_mean", "l1.running_var", "l1.weight", "l1.bias"]
    np.testing.assert_allclose(found["l1.running_var"], VARIANCE, rtol=1e-6)


CONVOLUTION = CASES["convolution"][0]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no layer in it has weights"),
        (b'layer { name: "x" }', "not a caffemodel, or not all of it"),
        (caffemodel([("l1", "Convolution", [W, B])])[:-1], "not a caffemodel, or not all of it"),
        (caffemodel([("l1", "Convolution", [])]), "no layer in it has weights"),
        (caffemodel([("l2", "Convolution", [W, B])]), "it has no weights of layer 'l1' (Convolution)"),
        (caffemodel([("l1", "Convolution", [W])]), "l1: its bias (4) is not in the file"),
        (
            caffemodel([("l1", "Convolution", [W[:2], B])]),
            "net.caffemodel: l1: its weight has 2x3x3x3 in the file, 4x3x3x3 is needed",
        ),
        (caffemodel([("l1", "Convolution", [W * np.nan, B])]), "l1.weight: 108 of 108 numbers are not finite"),
    ],
)
def test_weights_that_do_not_fit_are_refused_with_one_message(tmp_path, content, message):
    with pytest.raises(cn.UserError) as refused:
        built(tmp_path, CONVOLUTION, content)
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            "weights net.caffemodel --run run",
            "A file of weights is no network: `cnnatomy weights NETWORK",
        ),
        (
            "train net.prototxt --data digits --start pretrained --out run",
            "pretrained: net.prototxt has no weights with it; name its file of weights, --start NET.caffemodel",
        ),
        ("weights normed.prototxt --from net.caffemodel --run run", "Take the layers that you do not need out of the"),
    ],
)
def test_what_is_no_network_or_has_no_weights_is_said_with_what_would_help(tmp_path, monkeypatch, arguments, message):
    files(tmp_path, CONVOLUTION + " layer { name: 'f' type: 'InnerProduct' bottom: 'l1' top: 'f' inner_product_param {"
    " num_output: 2 } }", caffemodel([("l1", "Convolution", [W, B])]))  # fmt: skip
    (tmp_path / "normed.prototxt").write_text(prototxt("MVN"))
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(main, arguments.split())
    assert done.exit_code == 2
    assert message in done.output


def test_a_blob_with_fewer_numbers_than_sizes_is_refused(tmp_path):
    wrong = caffemodel([("l1", "Convolution", [W, B])], version=1).replace(b"\x08\x04\x10\x03", b"\x08\x05\x10\x03")
    assert wrong != caffemodel([("l1", "Convolution", [W, B])], version=1)
    with pytest.raises(cn.UserError, match="layer 'l1': a blob of 5x3x3x3 has 108 numbers in it"):
        built(tmp_path, CONVOLUTION, wrong)


def test_damaged_files_are_read_or_refused(tmp_path):
    path = tmp_path / "x.caffemodel"
    for content in mutations(caffemodel([*NORMS, ("l2", "Scale", [GAIN, SHIFT])]), 200):
        path.write_bytes(content)
        with suppress(cn.UserError):
            list(in_order(str(path)))
