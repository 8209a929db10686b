"""The weights of ONNX files: networks that are built with them give what onnx says; damaged ones are refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import cnnatomy as cn
from cnnatomy import limits
from cnnatomy.readers import read_stored, resolve

onnx = pytest.importorskip("onnx")
helper, FLOAT = onnx.helper, onnx.TensorProto.FLOAT

from onnx_models import CONVOLUTION, assert_computes_the_same, model, node, random  # noqa: E402 - onnx may be missing

IMAGE = ("x", ["N", 2, 9, 7])
WEIGHT = random(4, 2, 3, 3)


def computed(*nodes, **tensors):
    """A model of a convolution whose weight `w` these nodes compute of tensors of the file."""
    return model([*nodes, node("Conv", "x w", "y")], [IMAGE], list(tensors.items()), opset=21)


def quantised(array, axis=None):
    """An array in 8 bits, with a scale for all of it, or for each index of an axis; and zero points."""
    others = tuple(i for i in range(array.ndim) if i != axis) if axis is not None else None
    scale = np.float32(np.abs(array).max(others) / 127)
    shape = [-1 if i == axis else 1 for i in range(array.ndim)] if axis is not None else []
    return np.int8(np.round(array / scale.reshape(shape))), scale, np.zeros(scale.shape, np.int8)


WAYS = {
    "stored": computed(w=WEIGHT),
    "half": computed(node("Cast", "h", "w", to=FLOAT), h=WEIGHT.astype(np.float16)),
    "transposed": computed(node("Transpose", "t", "w", perm=[3, 2, 1, 0]), t=random(3, 3, 2, 4)),
    "reshaped": computed(node("Reshape", "r s", "w"), r=random(72), s=np.array([4, 2, 3, 3])),
    "of two": computed(node("Concat", "a b", "w", axis=0), a=random(1, 2, 3, 3), b=random(3, 2, 3, 3)),
    "standardised": computed(
        node("ReduceMean", "v axes", "mean"), node("Sub", "v mean", "w"), v=WEIGHT, axes=np.array([1, 2, 3])
    ),
    "weight norm": computed(
        node("ReduceL2", "v axes", "norm"), node("Div", "v norm", "unit"), node("Mul", "unit g", "w"),
        v=WEIGHT, g=random(4, 1, 1, 1), axes=np.array([1, 2, 3]),
    ),
    "of a constant": computed(node("Constant", "", "w", value=onnx.numpy_helper.from_array(WEIGHT))),
    "cast like a map": computed(node("CastLike", "h x", "w"), h=WEIGHT.astype(np.float16)),
    "cast like a tensor": computed(node("CastLike", "h f", "w"), h=WEIGHT.astype(np.float16), f=np.float32(0)),
    "filled": computed(
        node("ConstantOfShape", "s", "w", value=onnx.numpy_helper.from_array(np.float32([0.5]))),
        s=np.array([4, 2, 3, 3]),
    ),
    "quantised": computed(node("DequantizeLinear", "q scale zero", "w"),
                          **dict(zip(("q", "scale", "zero"), quantised(WEIGHT), strict=True))),
    "quantised by channel": computed(node("DequantizeLinear", "q scale zero", "w", axis=0),
                                     **dict(zip(("q", "scale", "zero"), quantised(WEIGHT, 0), strict=True))),
}  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
def test_a_weight_is_what_the_file_computes_of_what_it_stores(way):
    assert_computes_the_same(WAYS[way], images=2)


@pytest.mark.parametrize("axis", [None, 0])
def test_quantised_weights_are_within_a_step_of_their_scale(tmp_path, axis):
    way = "quantised" if axis is None else "quantised by channel"
    found = stored_in(tmp_path, WAYS[way])["y"]["weight"]
    scale = quantised(WEIGHT, axis)[1].reshape(-1, 1, 1, 1)
    assert (np.abs(found - WEIGHT) <= scale).all()


def stored_in(folder, proto, name="x.onnx"):
    """The tensors of a model's layers, by path and name."""
    path = folder / name
    path.write_bytes(proto.SerializeToString())
    return dict(read_stored(str(path)).tensors())


def test_two_layers_with_one_tensor_get_it_each(tmp_path):
    """Exporters keep equal tensors, such as the ones of untrained batch norms, once."""
    square = random(2, 2, 3, 3)
    proto = model([node("Conv", "x w", "a"), node("Conv", "a w", "y")], [IMAGE], [("w", square)])
    assert_computes_the_same(proto)
    path = tmp_path / "x.onnx"
    path.write_bytes(proto.SerializeToString())
    with pytest.raises(cn.UserError, match="shares its weight"):
        resolve(str(path))  # to be trained from new weights


def bfloat16(array):
    """An array in bfloat16 as the bytes of a tensor."""
    raw = (np.ascontiguousarray(array).view(np.uint32) >> 16).astype(np.uint16).tobytes()
    return onnx.TensorProto(name="w", dims=array.shape, data_type=onnx.TensorProto.BFLOAT16, raw_data=raw)


@pytest.mark.parametrize(("kind", "digits"), [("float16", 2e-3), ("float64", 1e-7), ("bfloat16", 1e-2)])
def test_weights_of_any_real_type_are_read(tmp_path, kind, digits):
    proto = computed(w=WEIGHT if kind == "bfloat16" else WEIGHT.astype(kind))
    if kind == "bfloat16":
        proto.graph.initializer[0].CopyFrom(bfloat16(WEIGHT))
    found = stored_in(tmp_path, proto)["y"]["weight"]
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, WEIGHT, rtol=digits)


def beside(folder, offset=0, length=288, location="w.bin", size=WEIGHT.nbytes):
    """A model whose weight lies in a file beside it."""
    (folder / "w.bin").write_bytes(b"\0" * offset + WEIGHT.tobytes()[:size])
    proto = computed(w=WEIGHT)
    tensor = proto.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in {"location": location, "offset": offset, "length": length}.items():
        tensor.external_data.add(key=key, value=str(value))
    return proto


def test_weights_beside_the_file_are_read_from_where_it_says(tmp_path):
    found = stored_in(tmp_path, beside(tmp_path, offset=64))
    np.testing.assert_array_equal(found["y"]["weight"], WEIGHT)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"length": 280}, "is said to be 280 bytes from byte 0 of w.bin, 288 are needed for 4x2x3x3"),
        ({"length": 2**62}, "288 are needed"),
        ({"length": "many"}, "are no integers"),
        ({"size": 100}, "100 of the 288 bytes of 'w' are there from byte 0"),
        ({"location": "../w.bin"}, "lies outside the file's folder"),
        ({"location": "/etc/passwd"}, "lies outside the file's folder"),
        ({"location": "other.bin"}, "cannot read the numbers of 'w': No such file"),
        ({"location": "."}, "cannot read the numbers of 'w': Is a directory"),
    ],
)
def test_weights_beside_the_file_that_are_not_what_it_says_are_refused(tmp_path, options, message):
    with pytest.raises(cn.UserError) as refused:
        stored_in(tmp_path, beside(tmp_path, **options))
    assert message in str(refused.value)


def test_a_tensor_with_fewer_numbers_than_sizes_is_refused_by_name(tmp_path):
    proto = computed(w=random(20, 2, 30, 30))  # too many to be of use but as a weight
    proto.graph.input[0].type.tensor_type.shape.dim[2].dim_value = 40
    proto.graph.input[0].type.tensor_type.shape.dim[3].dim_value = 40
    proto.graph.initializer[0].raw_data = proto.graph.initializer[0].raw_data[:-4]
    with pytest.raises(cn.UserError, match=r"the tensor 'w' is damaged: 20x2x30x30 is what it should hold"):
        stored_in(tmp_path, proto)


def test_weights_that_would_fill_the_memory_are_refused_before_they_are_made(tmp_path, monkeypatch):
    monkeypatch.setattr("cnnatomy.readers.onnx.weights.MAX_STORED_ELEMENTS", 71)
    for way in ("stored", "filled"):
        with pytest.raises(cn.UserError, match="at most 71 are read"):
            stored_in(tmp_path, WAYS[way])
    assert limits.MAX_STORED_ELEMENTS > 102_760_448  # the largest of VGG


def test_weights_that_take_too_long_to_compute_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("cnnatomy.readers.onnx.weights.MAX_COMPUTED_ELEMENTS", 100)
    with pytest.raises(cn.UserError, match="its weights take more than 100 numbers to compute"):
        stored_in(tmp_path, WAYS["transposed"])


def test_the_first_node_that_is_none_of_our_layers_is_named_with_what_to_do(tmp_path):
    proto = model([node("Sin", "x", "a", name="part/turn"), node("Conv", "a w", "y")], [IMAGE], [("w", CONVOLUTION)])
    with pytest.raises(cn.UserError, match=r"part.turn \(Sin\) is none of our layers.*cut out the part"):
        stored_in(tmp_path, proto)


def test_a_weight_that_is_an_input_is_refused(tmp_path):
    proto = model([node("Conv", "x w", "y")], [IMAGE, ("w", [4, 2, 3, 3])])
    with pytest.raises(cn.UserError, match="the tensor 'w' has no numbers in the file: it is an input"):
        stored_in(tmp_path, proto)


LIGHT = sorted((Path(onnx.__file__).parent / "backend" / "test" / "data" / "light").glob("*.onnx"))
NOT_OURS = {"light_inception_v1": "n138 (AveragePool)"}  # its padding counts at one end only


@pytest.mark.slow
@pytest.mark.parametrize("path", LIGHT, ids=lambda path: path.stem)
def test_files_of_others_compute_here_what_they_compute_there(path):
    if path.stem in NOT_OURS:
        with pytest.raises(cn.UserError) as refused:
            read_stored(str(path))
        assert NOT_OURS[path.stem] in str(refused.value)
        return
    assert_computes_the_same(onnx.load(path))
