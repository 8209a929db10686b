"""Small ONNX models for tests: of one operator, or of a few nodes."""

from __future__ import annotations

import importlib
import importlib.util
import tempfile
from pathlib import Path

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
helper, FLOAT = onnx.helper, onnx.TensorProto.FLOAT

from cnnatomy.readers import onnx_file, read_stored  # noqa: E402 - onnx may be missing


def model(nodes, inputs, initializers=(), outputs=("y",), opset=17):
    """A model of these nodes; each input is (name, sizes), each initializer (name, array)."""
    graph = helper.make_graph(
        list(nodes),
        "test",
        [helper.make_tensor_value_info(name, FLOAT, sizes) for name, sizes in inputs],
        [helper.make_tensor_value_info(name, FLOAT, None) for name in outputs],
        [onnx.numpy_helper.from_array(np.asarray(array), name) for name, array in initializers],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def graph_of(proto, input=None, folder=Path()):
    """The graph that a model is read as."""
    return onnx_file.read(proto.SerializeToString(), "x.onnx", folder, input)


def layers_of(proto) -> list[str]:
    """The layers that a model is read as, each with the shape of its output."""
    return [f"{node.layer!r} {'x'.join(map(str, node.output.shape))}" for node in graph_of(proto)]


def random(*sizes):
    """Normal numbers, the same each time."""
    return np.random.default_rng(0).normal(size=sizes).astype(np.float32)


CONVOLUTION = random(4, 2, 3, 3)


def one(op, sizes=(2, 9, 7), weights=(), opset=17, **attributes):
    """A model of one operator on a map; `weights` are its further inputs."""
    names = [f"w{i}" for i in range(len(weights))]
    made = node(op, " ".join(["x", *names]), "y", name="n", **attributes)
    return model([made], [("x", ["N", *sizes])], list(zip(names, weights, strict=True)), opset=opset)


def node(op, inputs, outputs, **attributes):
    """A node; its inputs and its outputs are names in one string."""
    return helper.make_node(op, inputs.split(), outputs.split(), **attributes)


def outputs_of_onnx(proto, *arrays):
    """What the model gives for these inputs: as onnxruntime says, or onnx's reference where that is not there."""
    names = [info.name for info in proto.graph.input if info.name not in {t.name for t in proto.graph.initializer}]
    feeds = dict(zip(names, arrays, strict=False))
    if importlib.util.find_spec("onnxruntime") is not None:
        runtime = importlib.import_module("onnxruntime")
        session = runtime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
        return session.run(None, feeds)
    if proto.opset_import[0].version < 14:  # where the reference trains batch norms, and takes softmax along one axis
        proto = importlib.import_module("onnx.version_converter").convert_version(proto, 17)
    return importlib.import_module("onnx.reference").ReferenceEvaluator(proto).run(None, feeds)


def tensors_of(proto):
    """The tensors of the network that a model is read as, with the weights of the model."""
    pytest.importorskip("torch")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.onnx"
        path.write_bytes(proto.SerializeToString())
        return [array for _, tensors in read_stored(str(path)).tensors() for array in tensors.values()]


def assert_computes_the_same(proto, images=1, tolerance=1e-5, expected=None):
    """The network that a model is read as, with the weights of the model, gives what onnx says on random input.

    Where onnx's reference does not compute the model, `expected` is one that is the same.
    """
    torch = pytest.importorskip("torch")
    sources = importlib.import_module("cnnatomy.runs.weights.sources")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.onnx"
        path.write_bytes(proto.SerializeToString())
        stored = read_stored(str(path))
        module = sources.with_weights(stored, "x.onnx")
    x = random(images, *stored.network.input)
    with torch.no_grad():
        got = module(torch.tensor(x)).numpy()
    wanted = outputs_of_onnx(expected or proto, x)[0]
    assert got.shape == wanted.shape
    np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=tolerance * max(1.0, float(np.abs(wanted).max())))
