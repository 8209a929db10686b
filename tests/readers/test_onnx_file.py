"""ONNX files: what others exported costs what it costs here; onnx and torch say which shapes and values are right."""

from __future__ import annotations

import contextlib
import io
import os
import re
import subprocess
import sys
import tarfile
import warnings
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import cnnatomy as cn
from cnnatomy.analysis import account
from cnnatomy.design.build import build
from cnnatomy.layers import Layer
from cnnatomy.readers import read_graph
from helpers import mutations
from kinds import others_in_full

onnx = pytest.importorskip("onnx")
helper, FLOAT = onnx.helper, onnx.TensorProto.FLOAT

from cnnatomy.readers import onnx_file  # noqa: E402 - onnx may be missing
from onnx_models import CONVOLUTION, graph_of, layers_of, model, node, one, random  # noqa: E402

LIGHT = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"

# graph -> the network of the catalogue, parameters and MACs that it has more, and why
GRAPHS = {
    "light_densenet121": ("densenet-121", 83_648, 0),  # scale and offset after each batch norm, which has its own
    "light_inception_v2": ("bn-inception-576", 2 * 9952 - 9952, 0),  # the same, but its convolutions have no offsets,
    "light_resnet50": ("resnet-50", 0, 0),
    "light_squeezenet": ("squeezenet-1.1", 0, 0),
    "light_vgg19": ("vgg-19", 0, 0),
    "light_inception_v1": ("googlenet", 0, -151_115_520),  # its pools round down: maps of 55, 27, 13, 6 pixels
}


def light(name: str) -> cn.analysis.Account:
    return account(onnx_file.open(str(LIGHT / f"{name}.onnx")), name)


@pytest.mark.parametrize("name", GRAPHS)
def test_a_graph_by_others_costs_what_the_network_of_the_catalogue_costs(name):
    ours, parameters, macs = GRAPHS[name]
    theirs, here = light(name), cn.network(ours).account()
    assert theirs.totals.not_counted == 0
    assert theirs.totals.parameters - here.totals.parameters == parameters
    assert theirs.totals.macs - here.totals.macs == macs


def test_bvlc_alexnet_is_alexnet_with_61_million_parameters():
    """With 224 pixels its first pools see 54, 27, 13 and it ends, with one padded pixel more, in 6x6 as with 227."""
    got = light("light_bvlc_alexnet")
    assert (got.totals.parameters, got.totals.not_counted) == (60_965_224, 0)
    assert [row.output for row in got if "MaxPool" in row.layer] == [(96, 26, 26), (256, 12, 12), (256, 6, 6)]


@pytest.mark.parametrize("path", sorted(LIGHT.glob("*.onnx")), ids=lambda path: path.stem)
def test_every_feature_map_has_the_shape_that_onnx_infers(path):
    inferred = onnx.shape_inference.infer_shapes(onnx.load(path))
    infos = [*inferred.graph.value_info, *inferred.graph.output]
    shapes = {info.name: [d.dim_value for d in info.type.tensor_type.shape.dim] for info in infos}
    theirs = [
        tuple(shapes[node.output[0]][1:])
        for node in inferred.graph.node
        if node.op_type in ("Conv", "MaxPool", "AveragePool", "Concat", "Sum", "LRN", "BatchNormalization", "Relu")
    ]
    kinds = {"Conv", "DepthwiseConv", "MaxPool", "AvgPool", "Foreign", "Concat", "Add", "LocalResponseNorm"}
    kinds |= {"BatchNorm", "ReLU"}
    additions = {"light_densenet121", "light_inception_v2"}  # their Add is an offset
    ours = [
        node.output.shape
        for node in onnx_file.open(str(path))
        if type(node.layer).__name__ in kinds and (path.stem not in additions or type(node.layer).__name__ != "Add")
    ]
    assert ours == theirs


def exported(module: torch.nn.Module, *inputs: torch.Tensor) -> bytes:
    """A module as torch exports it, with batch norm left as it is; no two tensors are alike."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_()
        for buffer in module.buffers():
            if buffer.is_floating_point():
                buffer.uniform_(0.5, 1)
    file = io.BytesIO()
    options = {"training": torch.onnx.TrainingMode.PRESERVE, "do_constant_folding": False, "dynamo": False}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(module.eval(), inputs, file, **options)
    return file.getvalue()


def check_export(name: str):
    network = cn.network(name)
    module, x = network.build(), torch.randn(1, *network.input)
    graph = onnx_file.read(exported(module, x), name, Path())
    theirs, here = account(graph), network.account()
    assert theirs.totals.not_counted == 0
    assert theirs.totals.parameters == here.totals.parameters
    assert theirs.totals.macs == here.totals.macs
    paths = {row.path.removesuffix(".Conv") for row in theirs if row.weights}  # beside the Pad of the same module
    assert paths == {row.path for row in here if row.weights}
    return graph, module, x


@pytest.mark.parametrize("name", ["lenet-5", "squeezenet-1.1", "resnet-20-cifar"])
def test_what_torch_exports_is_read_as_what_it_was_and_can_be_built_again(name):
    graph, module, x = check_export(name)
    again = build(graph).eval()
    again.load_state_dict(module.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(again(x), module(x), rtol=1e-4, atol=1e-4)


EXPORTED = ("densenet-121", "googlenet", "mobilenet-v2", "se-resnet-50")
IN_FULL = (
    "inception-v3",
    "shiftnet-c",
    "mobilenet-v1",
    "resnet-50",
    "resnext-50-32x4d",
    "xception",
    "preact-resnet-110-cifar",
)
IN_FULL += ("nasnet-a-mobile",)


@pytest.mark.slow
@pytest.mark.parametrize("name", others_in_full(EXPORTED, [*EXPORTED, *IN_FULL]))
def test_what_torch_exports_of_every_family_is_read_as_what_it_was(name):
    check_export(name)


def test_a_chain_of_shape_arithmetic_is_folded():
    """torch's `x.view(x.size(0), -1)`: Shape, Gather, Unsqueeze, Concat, Reshape."""
    nodes = [
        node("Shape", "x", "s"),
        node("Gather", "s i", "n", axis=0),
        node("Unsqueeze", "n zero", "n1"),
        node("Concat", "n1 rest", "sizes", axis=0),
        node("Reshape", "x sizes", "y"),
    ]
    tensors = [("i", np.array(0)), ("zero", np.array([0])), ("rest", np.array([-1]))]
    assert layers_of(model(nodes, [("x", ["batch", 2, 3, 5])], tensors)) == ["Flatten() 30"]


def test_an_operator_without_a_rule_is_kept_named_with_its_tensors_and_said_to_be_not_counted():
    proto = one("GRUish", (4, 6), [random(3, 6, 6)], domain="some.where")
    proto.opset_import.append(helper.make_opsetid("some.where", 1))
    proto.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1, 4, 6]))
    (row,) = account(graph_of(proto))
    assert (row.kind, row.parameters, row.output, row.node.layer.what) == ("not counted", 108, (4, 6), "GRUish")


def test_weights_that_two_nodes_read_count_once():
    nodes = [node("Conv", "x w", "a", name="one", pads=[1] * 4), node("Conv", "a w", "y", name="two", pads=[1] * 4)]
    got = account(graph_of(model(nodes, [("x", [1, 2, 5, 5])], [("w", random(2, 2, 3, 3))])))
    assert [(row.path, row.parameters, row.macs) for row in got] == [("one", 36, 900), ("two", 0, 900)]


@pytest.mark.parametrize(
    ("scale", "zero", "cut"),
    [
        (0.1, np.uint8(128), []),
        (0.1, np.int8(0), []),
        (0.1, np.uint8(0), ["ReLU() 4x7x5"]),  # which quantisers leave out, as no number is below it
        (6 / 255, np.int8(-128), ["ReLU6() 4x7x5"]),
    ],
)
def test_quantisation_is_read_through(scale, zero, cut):
    """QDQ around a convolution with a quantised weight, and the same as QLinearConv."""
    tensors = [("s", np.float32(scale)), ("z", zero), ("w", np.zeros((4, 2, 3, 3), zero.dtype))]
    nodes = [
        node("QuantizeLinear", "x s z", "xq"),
        node("DequantizeLinear", "xq s z", "xd"),
        node("DequantizeLinear", "w s z", "wd"),
        node("Conv", "xd wd", "c"),
        node("QuantizeLinear", "c s z", "cq"),
        node("DequantizeLinear", "cq s z", "y"),
    ]
    expected = ["Conv(4, 3, bias=False) 4x7x5", *cut]
    assert layers_of(model(nodes, [("x", [1, 2, 9, 7])], tensors)) == expected
    nodes = [
        node("QuantizeLinear", "x s z", "xq"),
        node("QLinearConv", "xq s z w s z s z", "cq"),
        node("DequantizeLinear", "cq s z", "y"),
    ]
    got = model(nodes, [("x", [1, 2, 9, 7])], tensors)
    assert layers_of(got) == expected
    assert account(graph_of(got)).totals.parameters == 72


def test_a_relu_before_a_quantised_map_is_there_once():
    tensors = [("s", np.float32(0.1)), ("z", np.uint8(0)), ("w", random(2, 2, 1, 1))]
    nodes = [
        node("Conv", "x w", "c"),
        node("Relu", "c", "r"),
        node("MaxPool", "r", "p", kernel_shape=[2, 2]),
        node("QuantizeLinear", "p s z", "q"),
        node("DequantizeLinear", "q s z", "y"),
    ]
    got = layers_of(model(nodes, [("x", [1, 2, 4, 4])], tensors))
    assert [text.partition("(")[0] for text in got] == ["Conv", "ReLU", "MaxPool"]


def test_an_if_whose_condition_is_known_is_the_branch_that_it_takes():
    info = helper.make_tensor_value_info("b", FLOAT, None)
    branches = {f"{name}_branch": helper.make_graph([node(op, "x", "b")], name, [], [info])
                for name, op in (("then", "Relu"), ("else", "Sigmoid"))}  # fmt: skip
    nodes = [helper.make_node("If", ["c"], ["y"], **branches)]
    assert layers_of(model(nodes, [("x", [1, 2, 3, 3])], [("c", np.array(False))])) == ["Sigmoid() 2x3x3"]


def test_names_of_modules_become_the_path():
    names = ["/layer1/layer1.0/conv1/Conv", "/layer1/layer1.0/act/Sigmoid", "/layer1/layer1.0/act/Mul", "/to/Relu"]
    nodes = [
        node("Conv", "x w", "a", name=names[0]),
        node("Sigmoid", "a", "s", name=names[1]),
        node("Mul", "a s", "m", name=names[2]),
        node("Relu", "m", "y", name=names[3]),
    ]
    graph = graph_of(model(nodes, [("x", [1, 2, 5, 5])], [("w", random(2, 2, 1, 1))]))
    assert [n.path for n in graph] == ["layer1.0.conv1", "layer1.0.act.Sigmoid", "layer1.0.act.Mul", "to_"]
    build(graph)


def test_torchs_newer_exporter_notes_the_modules_beside_the_node():
    conv = node("Conv", "x w", "y", name="node_conv2d_3")
    conv.metadata_props.add(key="pkg.torch.onnx.name_scopes", value="['', 'stem', 'stem.conv', 'conv2d']")
    graph = graph_of(model([conv], [("x", [1, 2, 5, 5])], [("w", random(2, 2, 1, 1))]))
    assert [n.path for n in graph] == ["stem.conv"]


def test_an_open_size_is_asked_for_and_given():
    proto = model([node("Relu", "x", "y")], [("x", ["N", 3, "H", "W"])])
    with pytest.raises(cn.UserError, match="the input 'x' has no fixed size; give --input, as in 3x224x224"):
        graph_of(proto)
    assert graph_of(proto, (3, 40, 50)).outputs[0].shape == (3, 40, 50)


def external(location: str):
    proto = model([node("Conv", "x w", "y")], [("x", [1, 2, 5, 5])], [("w", random(2, 2, 3, 3))])
    tensor = proto.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    return proto


@pytest.mark.parametrize("location", ["/etc/passwd", "../weights", "a/../../b", "C:\\weights", "..\\w", "", "link/w"])
def test_weights_outside_the_folder_are_refused_at_once(location, tmp_path):
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "link").symlink_to(tmp_path)
    with pytest.raises(cn.UserError, match="lies outside the file's folder"):
        graph_of(external(location), folder=tmp_path / "models")


def test_weights_beside_the_file_are_known_by_their_shape_and_never_loaded(tmp_path):
    graph = graph_of(external("weights/w.bin"), folder=tmp_path)  # there is no such file, and none is needed
    assert account(graph).totals.parameters == 36


CONTENT = one("Conv", weights=[CONVOLUTION, random(4)]).SerializeToString()
MISTAKES = {
    b"": "not an ONNX model",
    b"not a model": "not an ONNX model",
    CONTENT[: len(CONTENT) // 2]: "not an ONNX model, or not all of it",
    one(
        "Conv", weights=[random(4, 3, 3, 3)]
    ).SerializeToString(): "node 'n' (Conv): it got 2 channels, its weight reads 3",
    one(
        "Conv", (2, 2, 2), [CONVOLUTION]
    ).SerializeToString(): "n: Conv(4, 3, bias=False) got 2x2x2, needs at least 3x3",
    one(
        "Conv", weights=[CONVOLUTION], pads=[1, 1]
    ).SerializeToString(): "node 'n' (Conv): pads is (1, 1); 4 sizes of at least 0 are needed",
    one("Gemm", (6,), [random(5, 4)]).SerializeToString(): "node 'n' (Gemm): it got 6 features, its weight reads 5",
    one("Reshape", weights=[np.array([0, 5])]).SerializeToString(): "cannot become",
    model([node("Relu", "z", "y")], [("x", [1])]).SerializeToString(): "no node of it reads an input",
    model([node("Add", "x z", "y")], [("x", [1, 2])]).SerializeToString(): "reads 'z', which no node before it makes",
    model([node("Add", "x y", "y")], [("x", [1, 2])]).SerializeToString(): (
        "node 'y' (Add) reads 'y', which it makes itself"
    ),
    model(
        [node("Add", "x b", "a", name="first"), node("Add", "a x", "b", name="second"), node("Relu", "b", "y")],
        [("x", [1, 2])],
    ).SerializeToString(): ("node 'first' (Add) reads 'b', which node 'second' (Add) makes only after it"),
    model(
        [node("Relu", "x", "y", name="one"), node("Abs", "x", "y", name="two")], [("x", [1, 2])]
    ).SerializeToString(): ("node 'one' (Relu) and node 'two' (Abs) both write 'y', which one may"),
    model([node("Relu", "x", "y"), node("Abs", "y", "x")], [("x", [1, 2])]).SerializeToString(): (
        "node 'x' (Abs) writes 'x', which is an input of the file already"
    ),
    model([node("Relu", "x", "y")], [("x", [1, 2])], outputs=["z", "y"]).SerializeToString(): (
        "its output 'z' is made by no node"
    ),
    model([node("Conv", "x", "y", name="conv")], [("x", [1, 2, 5, 5])]).SerializeToString(): (
        "node 'conv' (Conv) has 1 input, at least 2 are needed"
    ),
    one("MaxPool").SerializeToString(): "node 'n' (MaxPool): the attribute kernel_shape is missing",
    one("MaxPool", kernel_shape=2).SerializeToString(): (
        "node 'n' (MaxPool): the attribute kernel_shape is of type INT, INTS is needed"
    ),
    **{
        one("MaxPool", **{"kernel_shape": [2, 2], name: sizes}).SerializeToString(): f"node 'n' (MaxPool): {said}"
        for name, sizes, said in (
            ("kernel_shape", [-2, 2], "the kernel is (-2, 2); 2 sizes of at least 1 are needed"),
            ("kernel_shape", [0, 2], "the kernel is (0, 2); 2 sizes of at least 1 are needed"),
            ("strides", [0, 1], "strides is (0, 1); 2 sizes of at least 1 are needed"),
            ("dilations", [1, 0], "dilations is (1, 0); 2 sizes of at least 1 are needed"),
            ("pads", [0, 0, -1, 0], "pads is (0, 0, -1, 0); 4 sizes of at least 0 are needed"),
        )
    },
    one("Conv", weights=[CONVOLUTION], group=0).SerializeToString(): (
        "node 'n' (Conv): group is 0; a number that divides 4 channels is needed"
    ),
    one("Conv", weights=[CONVOLUTION, random(3)]).SerializeToString(): "its bias has the sizes (3,), (4,) is needed",
    one("BatchNormalization", weights=[random(2), random(2), random(3), random(2)]).SerializeToString(): (
        "node 'n' (BatchNormalization): it got 2 channels, its input 4 has the sizes (3,)"
    ),
    one("Transpose", perm=[0, 1, 1, 3]).SerializeToString(): "perm is (0, 1, 1, 3); each axis from 0 to 3",
    one("Softmax", axis=9).SerializeToString(): "node 'n' (Softmax): there is no axis 9 in a tensor with 4 axes",
}


@pytest.mark.parametrize("content", MISTAKES, ids=range(len(MISTAKES)))
def test_a_file_that_is_wrong_is_named_with_what_is_wrong(content, tmp_path):
    path = tmp_path / "x.onnx"
    path.write_bytes(content)
    with pytest.raises(cn.UserError) as caught:
        onnx_file.open(str(path))
    assert MISTAKES[content] in str(caught.value)
    assert str(caught.value).startswith(str(path))


WHOLE = [CONTENT, *((LIGHT / f"light_{name}.onnx").read_bytes() for name in ("bvlc_alexnet", "squeezenet", "vgg19"))]


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(WHOLE), st.integers(0, 15_000), st.integers(0, 9), st.binary(max_size=4))
def test_a_damaged_file_is_read_or_refused_and_nothing_else(content, start, length, instead):
    start %= len(content)
    damaged = content[:start] + instead + content[start + length :]
    with contextlib.suppress(cn.UserError):
        account(onnx_file.read(damaged, "x.onnx", Path()))


def test_a_damaged_byte_is_read_or_refused_and_nothing_else():
    for content in (CONTENT, *(proto.SerializeToString() for proto in LIMITED.values())):
        for damaged in mutations(content, 200):
            with contextlib.suppress(cn.UserError):
                account(onnx_file.read(damaged, "x.onnx", Path()))


def chain_of(op, length, start, **attributes):
    """A node that reads its predecessor twice, many times over, beside a ReLU on the input."""
    names = [start, *(f"d{i}" for i in range(length))]
    nodes = [node(op, f"{a} {a}", b, **attributes) for a, b in pairwise(names)]
    return [node("Relu", "x", "y"), *nodes]


def calls_of_functions(depth):
    """Functions that call the one before them twice: 2^depth ReLUs."""
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    proto = model([node(f"f{depth - 1}", "x", "y", domain="own")], [("x", [1, 2])])
    proto.opset_import.append(opsets[1])
    for i in range(depth):
        op, domain = (f"f{i - 1}", "own") if i else ("Relu", "")
        nodes = [node(op, "a", "b", domain=domain), node(op, "b", "c", domain=domain)]
        proto.functions.append(helper.make_function("own", f"f{i}", ["a"], ["c"], nodes, opsets))
    return proto


INPUT = [("x", [1, 2, 8, 8])]
LIMITED = {  # what would command much -> a model that asks for it, and is read in no time
    "a list that doubles 60 times": model(chain_of("Concat", 60, "k", axis=0), INPUT, [("k", np.array([1, 2]))]),
    "sizes that double 60 times": model(
        [node("Shape", "x", "k"), *chain_of("Concat", 60, "k", axis=0)], INPUT
    ),
    "strings that double 60 times": model(chain_of("Add", 60, "k"), INPUT, [("k", np.array(["ab"], object))]),
    "2^62 numbers in a row": model(
        [node("Range", "a b c", "k"), node("Relu", "x", "y")],
        INPUT, [("a", np.int64(0)), ("b", np.int64(2**62)), ("c", np.int64(1))],
    ),
    "2^62 copies": model(
        [node("Expand", "a s", "k"), node("Relu", "x", "y")], INPUT, [("a", np.int64(0)), ("s", np.array([2**31] * 2))]
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", LIMITED)
def test_what_is_folded_is_bounded(name):
    assert len(graph_of(LIMITED[name]).nodes) == 1


REFUSED = {  # what there is too much of -> a model of it
    "at most 16,000 nodes and": calls_of_functions(30),
    "at most 16,000 nodes, this has more": model([node("Relu", "x", "y")] * 16_001, INPUT),
    "at most 700,000 names": model([node("Sum", "x " * 700_000, "y")], INPUT),
    "the tensor 'k' would have 3 axes": model(
        [node("ConstantOfShape", "s", "k"), node("Relu", "x", "y")], INPUT, [("s", np.array([2**31] * 3))]
    ),
    "at most 32 axes, sides of 10,000,000": model(
        [node("Relu", "x", "d"), *chain_of("Concat", 70, "d", axis=1)[1:], node("Relu", "d69", "y")], INPUT
    ),
    "at most 20,000 are expected": model([node("Split", "x", " ".join(["y", *map(str, range(20_000))]))], INPUT),
}


@pytest.mark.parametrize("said", REFUSED)
def test_what_is_too_much_is_refused(said):
    with pytest.raises(cn.UserError, match=re.escape(said)):
        graph_of(REFUSED[said])


def test_names_with_control_characters_reach_no_table_and_no_message():
    proto = model([node("R\x1b[31m", "x", "y", name="a\x1b\u202eb")], INPUT)
    proto.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, INPUT[0][1]))
    (row,) = account(graph_of(proto))
    assert (row.path, row.node.layer.what) == ("a__b", "R\\x1b[31m")


def test_a_device_or_a_pipe_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe.onnx")
    (tmp_path / "zero.onnx").symlink_to("/dev/zero")
    for name in ("pipe", "zero"):
        with pytest.raises(cn.UserError, match="not a regular file"):
            read_graph(str(tmp_path / f"{name}.onnx"))


def test_a_file_larger_than_a_protocol_buffer_can_be_is_refused_unread(tmp_path, monkeypatch):
    (tmp_path / "x.onnx").write_bytes(CONTENT)
    monkeypatch.setattr(onnx_file, "MAX_ONNX_BYTES", 10)
    with pytest.raises(cn.UserError, match="may have at most 10 bytes, this has"):
        onnx_file.open(str(tmp_path / "x.onnx"))


def test_without_onnx_it_is_said_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(cn.UserError, match=r"pip install 'cnnatomy\[onnx\]'"):
        read_graph(str(LIGHT / "light_squeezenet.onnx"))


def test_a_file_is_found_by_its_suffix():
    graph, name = read_graph(str(LIGHT / "light_squeezenet.onnx"))
    assert account(graph, name).totals.parameters == 1_235_496
    assert all(isinstance(n.layer, Layer) for n in graph)
    with pytest.raises(cn.UserError, match="cannot read the ONNX file: No such file"):
        read_graph("none.onnx")


@pytest.mark.slow
def test_squeezenet_with_its_weights_has_1235496_parameters(tmp_path):
    """The file of the ONNX model zoo, as skl2onnx carries it: 1,235,498 numbers, two of which are a shape."""
    command = [sys.executable, "-m", "pip", "download", "-qq", "--no-deps", "--no-binary", "skl2onnx"]
    command += ["--disable-pip-version-check", "--no-build-isolation", "-d", str(tmp_path), "skl2onnx==1.14.0"]
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=120)
    except (subprocess.SubprocessError, OSError):
        pytest.skip("skl2onnx cannot be fetched here")
    with tarfile.open(next(tmp_path.glob("*.tar.gz"))) as archive:
        member = archive.extractfile("skl2onnx-1.14.0/docs/tutorial/squeezenet1.1-7.onnx")
        assert member is not None
        content = member.read()
    numbers = sum(int(np.prod(t.dims)) for t in onnx.load_from_string(content).graph.initializer)
    got = account(onnx_file.read(content, "squeezenet", tmp_path))
    assert numbers == 1_235_498
    assert got.totals.parameters == numbers - 2 == cn.network("squeezenet-1.1").account().totals.parameters
    assert got.totals.macs == cn.network("squeezenet-1.1").account().totals.macs
