"""Every ONNX operator with weights that a layer of ours computes, and graphs in nodes: outputs are what onnx says."""

from __future__ import annotations

import numpy as np
import pytest

import cnnatomy as cn

onnx = pytest.importorskip("onnx")
helper, FLOAT = onnx.helper, onnx.TensorProto.FLOAT

from onnx_models import assert_computes_the_same, model, node, one, random, tensors_of  # noqa: E402 - onnx may be missing

MICROSOFT = "com.microsoft"


def other(*sizes):
    """Normal numbers, others than those of `random`."""
    return np.random.default_rng(1).normal(size=sizes).astype(np.float32)


def positive(*sizes):
    return np.abs(random(*sizes)) + np.float32(0.5)


def recurrent(op, gates, last):
    """A recurrent node of four states after five features, six steps of them; its last state, or all."""
    outputs = ["", "h"] if last else ["h"]
    after = [node("Squeeze", "h zero", "y")] if last else [
        node("Squeeze", "h one", "s"), node("Transpose", "s", "y", perm=[1, 0, 2])
    ]  # fmt: skip
    tensors = {"w": random(1, 4 * gates, 5), "r": other(1, 4 * gates, 4), "b": random(1, 8 * gates)}
    axes = {"zero": np.array([0]), "one": np.array([1])}
    turned = node("Transpose", "x", "t", perm=[1, 0, 2])
    made = helper.make_node(op, ["t", "w", "r", "b"], outputs, hidden_size=4)
    return model([turned, made, *after], [("x", ["N", 6, 5])], [*tensors.items(), *axes.items()])


def of_vector(*nodes, sizes=(6,), opset=17, **tensors):
    return model(nodes, [("x", ["N", *sizes])], list(tensors.items()), opset=opset)


SAME = {
    "Gemm": one("Gemm", (6,), [random(6, 5), other(5)]),
    "Gemm with factors": one("Gemm", (6,), [random(5, 6), other(5)], alpha=0.5, beta=2.0, transB=1),
    "Gemm with a bias of two axes": one("Gemm", (6,), [random(5, 6), other(1, 5)], transB=1),
    "MatMul and Add": of_vector(node("MatMul", "x w", "a"), node("Add", "b a", "y"), w=random(6, 5), b=other(5)),
    "MatMul of maps": of_vector(node("MatMul", "x w", "y"), sizes=(2, 3, 6), w=random(6, 5)),
    "Conv": one("Conv", (2, 12, 11), [random(4, 2, 3, 2), random(4)],
                pads=[0, 1, 2, 1], strides=[2, 1], dilations=[1, 2]),
    "Conv in groups": one("Conv", (6, 9, 7), [random(4, 3, 3, 3), random(4)], group=2),
    "Conv depthwise": one("Conv", (6, 9, 7), [random(12, 1, 3, 3), random(12)], group=6),
    "ConvTranspose": one("ConvTranspose", (2, 5, 4), [random(2, 3, 3, 3), random(3)],
                         strides=[2, 2], pads=[1, 1, 1, 1], output_padding=[1, 0]),
    "ConvTranspose, asymmetric": one("ConvTranspose", (2, 5, 4), [random(2, 3, 3, 3)], strides=[2, 2],
                                     pads=[0, 1, 1, 0]),
    "BatchNormalization": one("BatchNormalization", (3, 5, 4), [positive(3), random(3), other(3), positive(3)]),
    "BatchNormalization of vectors": one("BatchNormalization", (3,), [positive(3), random(3), other(3), positive(3)]),
    "LayerNormalization": one("LayerNormalization", (3, 5, 8), [random(5, 8), other(5, 8)], axis=-2),
    "LayerNormalization without bias": one("LayerNormalization", (5, 8), [random(8)]),
    "GroupNormalization": one("GroupNormalization", (6, 5, 4), [random(6), other(6)], opset=21, num_groups=3),
    "InstanceNormalization": one("InstanceNormalization", (3, 5, 4), [random(3), other(3)]),
    "ReduceMax of all pixels": one("ReduceMax", (3, 5, 4), axes=[2, 3], keepdims=0),
    "ReduceMax of all pixels, which stay": one("ReduceMax", (3, 5, 4), axes=[2, 3]),
    "PRelu of one slope": one("PRelu", (3, 5, 4), [np.float32([0.3])]),
    "PRelu of each channel": one("PRelu", (3, 5, 4), [random(3, 1, 1)]),
    "Mul and Add of each channel": of_vector(node("Mul", "x w", "a"), node("Add", "a b", "y"), sizes=(3, 5, 4),
                                             w=random(3, 1, 1), b=other(1, 3, 1, 1)),
    "Sub and Div of each channel": of_vector(node("Sub", "x w", "a"), node("Div", "a b", "y"), sizes=(3, 5, 4),
                                             w=random(3, 1, 1), b=positive(1, 3, 1, 1)),
    "Sub of each channel": of_vector(node("Sub", "x w", "y"), sizes=(3, 5, 4), w=random(3, 1, 1)),
    "Gather of a range, with one more axis": of_vector(
        node("Gather", "x i", "y", axis=2), sizes=(3, 5), i=np.array([[1, 2], [3, 4]])
    ),
    "LSTM, all states": recurrent("LSTM", 4, last=False),
    "LSTM, the last state": recurrent("LSTM", 4, last=True),
    "RNN": recurrent("RNN", 1, last=False),
}  # fmt: skip


@pytest.mark.parametrize("name", SAME)
def test_a_layer_with_the_tensors_of_its_operator_computes_what_onnx_says(name):
    assert_computes_the_same(SAME[name], images=2)


def test_a_transposed_convolution_in_groups_is_one_for_each():
    """onnx's reference has none in groups."""
    weight = random(4, 3, 3, 3)
    parts = node("Split", "x", "x1 x2", axis=1, num_outputs=2), node("Concat", "y1 y2", "y", axis=1)
    made = [node("ConvTranspose", f"x{i} w{i}", f"y{i}", strides=[2, 2]) for i in (1, 2)]
    tensors = {"w1": weight[:2], "w2": weight[2:]}
    each = of_vector(parts[0], *made, parts[1], sizes=(4, 5, 4), opset=18, **tensors)
    assert_computes_the_same(one("ConvTranspose", (4, 5, 4), [weight], strides=[2, 2], group=2), 2, expected=each)


def test_lrn_is_that_of_onnx():
    """onnx's reference takes images for channels, so that there are as many here."""
    assert_computes_the_same(one("LRN", (8, 5, 4), size=5, alpha=1e-2), images=8)


def test_lrn_of_an_even_size_is_no_layer_of_ours():
    """ONNX has one channel more after than before, torch one more before."""
    with pytest.raises(cn.UserError, match=r"n \(LRN\) is none of our layers"):
        assert_computes_the_same(one("LRN", (8, 5, 4), size=4))


def eighths(array, axis=None):
    """An array in 8 bits, its scales and its zeros."""
    others = tuple(i for i in range(array.ndim) if i != axis)
    scale = np.float32(np.abs(array).max(None if axis is None else others) / 127)
    along = scale if axis is None else scale.reshape([-1 if i == axis else 1 for i in range(array.ndim)])
    return np.int8(np.round(array / along)), scale, np.zeros(scale.shape, np.int8)


INPUT = {"xs": np.float32(0.05), "xz": np.uint8(128), "ys": np.float32(0.1), "yz": np.uint8(128)}
BEFORE, AFTER = node("QuantizeLinear", "x xs xz", "xq"), node("DequantizeLinear", "yq ys yz", "y")


def of_integers(*nodes, sizes, weight, axis=None, **tensors):
    q, s, z = eighths(weight, axis)
    tensors = {"q": q, "s": s, "z": z, **INPUT, **tensors}
    return model(nodes, [("x", ["N", *sizes])], list(tensors.items()), opset=21)


DYNAMIC = (node("DynamicQuantizeLinear", "x", "xq xs xz"), node("Cast", "i", "f", to=FLOAT),
           node("Mul", "xs s", "both"), node("Mul", "f both", "y"))  # fmt: skip


def dynamic(made, **options):
    proto = of_integers(DYNAMIC[0], made, *DYNAMIC[1:], **options)
    del proto.graph.initializer[3:5]  # the scale and the zero of the map, which the file computes
    return proto


CHANNELS = eighths(random(4, 2, 3, 3), 0)[1].reshape(4, 1, 1)
ROUNDED = {
    "QLinearConv": of_integers(BEFORE, node("QLinearConv", "xq xs xz q s z ys yz b", "yq"), AFTER, sizes=(2, 9, 7),
                               weight=random(4, 2, 3, 3), axis=0, b=np.int32([10, -20, 30, 40])),
    "QLinearMatMul": of_integers(BEFORE, node("QLinearMatMul", "xq xs xz q s z ys yz", "yq"), AFTER, sizes=(6,),
                                 weight=random(6, 5), axis=1),
    "ConvInteger": dynamic(node("ConvInteger", "xq q xz z", "i"), sizes=(2, 9, 7), weight=random(4, 2, 3, 3)),
    "MatMulInteger": dynamic(node("MatMulInteger", "xq q xz z", "i"), sizes=(6,), weight=random(6, 5)),
    "ConvInteger of a scale for each channel": dynamic(
        node("ConvInteger", "xq q xz", "i"), sizes=(2, 9, 7), weight=random(4, 2, 3, 3), axis=0, s=CHANNELS
    ),
    "MatMulInteger of a scale for each channel": dynamic(
        node("MatMulInteger", "xq q xz z", "i"), sizes=(6,), weight=random(6, 5), axis=1
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ROUNDED)
def test_a_quantised_operator_is_that_of_the_real_numbers_but_for_the_rounding_of_its_maps(name):
    assert_computes_the_same(ROUNDED[name], images=2, tolerance=0.05)


@pytest.mark.parametrize("axis", [None, 1])
def test_a_matrix_of_integers_is_learned_as_the_real_one_that_it_stands_for(axis):
    weight = random(6, 5)
    proto = dynamic(node("MatMulInteger", "xq q xz z", "i"), sizes=(6,), weight=weight, axis=axis)
    (found,) = (tensor for tensor in tensors_of(proto) if tensor.shape == (5, 6))
    assert np.all(np.abs(found - weight.T) <= 0.501 * eighths(weight, axis)[1].reshape(-1, 1))


NOT_MADE_REAL = {
    "by nothing": [node("Cast", "xq", "f", to=FLOAT), node("MatMul", "f w", "y")],
    "by another scale": [node("DequantizeLinear", "xq ys xz", "r"), node("MatMul", "r w", "y")],
    "by another zero": [node("DequantizeLinear", "xq xs z", "r"), node("MatMul", "r w", "y")],
    "after a move": [node("Reshape", "xq shape", "m"), node("Cast", "m", "f", to=FLOAT), node("MatMul", "f w", "y")],
    "after a product": [node("MatMulInteger", "xq q xz", "i"), *DYNAMIC[1:2], node("Mul", "f both", "y")],
}


@pytest.mark.parametrize("how", NOT_MADE_REAL)
def test_integers_of_a_map_that_are_not_made_real_as_they_were_rounded_are_refused(how):
    """The file computes other numbers than a network of real numbers would."""
    others = {"shape": np.array([0, 6]), "w": random(6, 5), "both": np.float32(1e-4), "z": np.uint8(0)}
    tensors = {**INPUT, **others, "q": eighths(random(6, 5))[0]}
    read = {name for made in NOT_MADE_REAL[how] for name in made.input} | {"xs", "xz"}
    proto = of_vector(BEFORE, *NOT_MADE_REAL[how], **{name: one for name, one in tensors.items() if name in read})
    with pytest.raises(cn.UserError, match=r"which was quantised with the scale 0\.05 and the zero 128, for a map of"):
        assert_computes_the_same(proto)


@pytest.mark.parametrize("opset", [13, 19, 21])
def test_quantised_weights_are_made_real_in_every_version(opset):
    """onnx's reference has this operator from 19 on; files of earlier versions are the most."""
    q, s, z = eighths(random(5, 6), 0)
    made = node("DequantizeLinear", "q s z", "w", axis=0), node("Gemm", "x w", "y", transB=1)
    older, newer = (of_vector(*made, opset=version, q=q, s=s, z=z) for version in (opset, 21))
    assert_computes_the_same(older, images=2, expected=newer)


def test_matrices_of_four_bits_are_unpacked():
    """Two numbers in a byte, the lower first; a scale for each block of 16, and 8 is zero."""
    packed = np.random.default_rng(0).integers(0, 256, (5, 2, 8)).astype(np.uint8)
    scales = positive(10)
    proto = one("MatMulNBits", (32,), [packed, scales], domain=MICROSOFT, K=32, N=5, bits=4, block_size=16)
    proto.opset_import.append(helper.make_opsetid(MICROSOFT, 1))
    real = (np.stack([packed & 15, packed >> 4], -1).reshape(5, 2, 16) - 8.0) * scales.reshape(5, 2, 1)
    assert_computes_the_same(proto, 2, expected=one("Gemm", (32,), [np.float32(real.reshape(5, 32))], transB=1))


def branch(weight, output, *nodes):
    """A graph of these nodes, or a convolution, with a tensor `v` of its own."""
    info = helper.make_tensor_value_info(output, FLOAT, None)
    made = nodes or (node("Conv", "x v", output, pads=[1, 1, 1, 1]),)
    return helper.make_graph(list(made), "branch", [], [info], [onnx.numpy_helper.from_array(weight, "v")])


IMAGE, FIRST, SECOND = [("x", ["N", 2, 9, 7])], random(2, 2, 3, 3), other(2, 2, 3, 3)


@pytest.mark.parametrize("condition", [True, False])
def test_a_branch_has_its_own_tensors_whatever_they_are_called(condition):
    def choice(output, x):
        made = [node("Conv", f"{x} v", f"{output}b", pads=[1, 1, 1, 1])]
        then, otherwise = (branch(w, f"{output}b", *made) for w in ((FIRST, SECOND) if x == "x" else (SECOND, FIRST)))
        return node("If", "c", output, then_branch=then, else_branch=otherwise)

    assert_computes_the_same(model([choice("m", "x"), choice("y", "m")], IMAGE, [("c", np.array(condition))]))


@pytest.mark.parametrize("condition", [True, False])
def test_a_weight_that_a_branch_computes_is_that_of_the_branch_taken(condition):
    then = branch(FIRST, "t", node("Transpose", "v", "t", perm=[1, 0, 2, 3]))
    otherwise = branch(SECOND, "o", node("Identity", "v", "o"))
    made = [node("If", "c", "w", then_branch=then, else_branch=otherwise), node("Conv", "x w", "y")]
    assert_computes_the_same(model(made, IMAGE, [("c", np.array(condition))]))


def loop(*nodes, **tensors):
    """Three passes over a map that is carried along."""
    kinds = {"pass": onnx.TensorProto.INT64, "before": onnx.TensorProto.BOOL}
    inputs = [helper.make_tensor_value_info(name, kind, []) for name, kind in kinds.items()]
    outputs = [helper.make_tensor_value_info("on", onnx.TensorProto.BOOL, []),
               helper.make_tensor_value_info("b", FLOAT, None)]  # fmt: skip
    carried = helper.make_tensor_value_info("a", FLOAT, None)
    made = [node("Identity", "before", "on"), *nodes, node("Conv", "a v", "b", pads=[1, 1, 1, 1])]
    stored = [onnx.numpy_helper.from_array(array, name) for name, array in tensors.items()]
    body = helper.make_graph(made, "body", [*inputs, carried], outputs, stored)
    return model([node("Loop", "n c x", "y", body=body)], IMAGE, [("n", np.array(3)), ("c", np.array(True))])


def test_a_loop_has_the_same_weights_in_each_pass():
    assert_computes_the_same(loop(v=FIRST * np.float32(0.2)))


def test_weights_that_change_from_pass_to_pass_are_refused():
    with pytest.raises(cn.UserError, match="the tensor 'pass' has no numbers in the file"):
        assert_computes_the_same(loop(node("Gather", "all pass", "v", axis=0), all=random(3, 2, 2, 3, 3)))
