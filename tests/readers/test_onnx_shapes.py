"""ONNX operators on shapes, what only running tells, and graphs in nodes; onnx's reference says what is right."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cnnatomy.analysis import account
from cnnatomy.errors import UserError

onnx = pytest.importorskip("onnx")
helper, reference = onnx.helper, pytest.importorskip("onnx.reference")
FLOAT, INT64, BOOL = onnx.TensorProto.FLOAT, onnx.TensorProto.INT64, onnx.TensorProto.BOOL

from onnx_models import graph_of, model, node, random  # noqa: E402 - onnx may be missing
from onnx_shape_cases import COUNTED, ints  # noqa: E402


@pytest.mark.parametrize("name", COUNTED)
def test_an_operator_costs_what_its_arithmetic_needs(name):
    proto, shape, costs, parameters = COUNTED[name]
    got = account(graph_of(proto))
    feeds = {x.name: random(1, *(d.dim_value for d in x.type.tensor_type.shape.dim[1:])) for x in proto.graph.input}
    with np.errstate(all="ignore"):
        expected, *_ = reference.ReferenceEvaluator(proto).run(None, feeds)
    assert got.graph.outputs[0].shape == shape == expected.shape[1:]
    assert got.totals.not_counted == 0
    counted = Counter[str]()
    for row in got:
        counted.update(row.operations._asdict())
    assert +counted == costs
    assert got.totals.parameters == parameters


def info(name, kind=FLOAT, sizes=None):
    return helper.make_tensor_value_info(name, kind, sizes)


def refused(proto) -> str:
    with pytest.raises(UserError) as caught:
        graph_of(proto)
    return str(caught.value)


# sizes that only running tells


BOXES = [
    node("NonMaxSuppression", "b s k", "found", name="nms"),
    node("Slice", "found start end axis", "boxes"),
    node("Squeeze", "boxes axis", "places"),
    node("Squeeze", "b first", "b2"),
    node("Gather", "b2 places", "y", axis=0),
]
TENSORS = [("k", ints(5)), ("start", ints(2)), ("end", ints(3)), ("axis", ints(1)), ("first", ints(0))]


def test_boxes_are_as_many_as_can_be_and_all_that_follows_rests_on_that():
    graph = graph_of(model(BOXES, [("b", [1, 20, 4]), ("s", [1, 2, 20])], TENSORS))
    assert graph.outputs[0].shape == (10, 4)  # 2 classes of 5
    assert set(graph.assumed.values()) == {("at most 10 boxes (nms)",)}
    assert set(graph.resting()) == set(graph.nodes)


def test_the_size_of_what_is_assumed_stays_assumed():
    nodes = [
        *BOXES[:1], node("Shape", "found", "sizes"), node("ConstantOfShape", "sizes", "zeros"),
        node("Relu", "x", "r"), node("Transpose", "zeros", "t", perm=[1, 0]), node("MatMul", "r t", "y"),
    ]  # fmt: skip
    graph = graph_of(model(nodes, [("b", [1, 20, 4]), ("s", [1, 2, 20]), ("x", [1, 3])], TENSORS[:1]))
    assert graph.outputs[0].shape == (10,)
    assert graph.outputs[0].node in graph.resting()


@pytest.mark.parametrize(
    ("op", "inputs", "sizes", "said"),
    [
        ("NonZero", "x", (2, 12), "at most 12 numbers that are not zero (n)"),
        ("Unique", "x", (12,), "at most 12 different numbers (n)"),
        ("TopK", "x z", (3, 4), "at most 4 largest (n)"),
    ],
)
def test_what_depends_on_the_data_is_as_large_as_it_can_be(op, inputs, sizes, said):
    nodes = [node("Cast", "k", "z", to=INT64), node(op, inputs, "y places" if op == "TopK" else "y", name="n")]
    graph = graph_of(model(nodes, [("x", [3, 4]), ("k", [1])]))
    assert set(graph.assumed.values()) == {(said,)}
    shape = graph.outputs[0].shape
    assert shape in (sizes, sizes[1:])


def test_each_thing_that_sizes_rest_on_is_told_by_itself():
    nodes = [
        node("NonZero", "x", "p", name="n"), node("NonZero", "k", "q", name="m"),
        node("Shape", "p", "s"), node("Shape", "q", "t"), node("Concat", "s t", "u", axis=0),
        node("ConstantOfShape", "u", "f"), node("ReduceSum", "f", "g", keepdims=0), node("Add", "x g", "y"),
    ]  # fmt: skip
    graph = graph_of(model(nodes, [("x", [3, 4]), ("k", [1, 5])]))
    said = ("at most 12 numbers that are not zero (n)", "at most 5 numbers that are not zero (m)")
    assert list(graph.resting().values())[-1] == said


def test_what_the_file_says_of_what_depends_on_the_data_is_taken_and_marked():
    proto = model([node("NonZero", "x", "y", name="n")], [("x", [3, 4])])
    proto.graph.output[0].CopyFrom(info("y", INT64, [2, 7]))
    graph = graph_of(proto)
    assert graph.outputs[0].shape == (2, 7)
    assert list(graph.assumed.values()) == [("7 numbers that are not zero, as the file says (n)",)]


def test_sizes_that_are_computed_from_the_data_are_refused_where_they_are_used():
    nodes = [node("Cast", "n", "k", to=INT64), node("Reshape", "x k", "y", name="r"), node("Relu", "y", "z")]
    assert "node 'r' (Reshape)" in refused(model(nodes, [("x", [1, 12]), ("n", [2])], outputs=["z"]))


# graphs in nodes


def looped(passes, *, going="always", v=(1, 4)):
    """A matrix product and a sum, as often as a loop runs."""
    nodes = [node("MatMul", "v w", "v2"), node("ReduceSum", "v2", "s", keepdims=0)]
    nodes.append(node("Identity", "c", "c2") if going == "always" else node("Less", "s one", "c2"))
    inputs = [info("i", INT64, ()), info("c", BOOL, ()), info("v")]
    outputs = [info("c2", BOOL, ()), info("v2"), info("s")]
    body = helper.make_graph(nodes, "body", inputs, outputs)
    made = helper.make_node("Loop", ["n", "go", "x"], ["y", "sums"], name="loop", body=body)
    tensors = [("n", np.int64(passes)), ("go", np.array(True)), ("w", random(4, 4)), ("one", np.float32(1))]
    return model([made], [("x", list(v))], tensors, outputs=["y", "sums"])


def test_a_loop_of_known_length_costs_its_body_as_often_and_its_weights_count_once():
    got = account(graph_of(looped(3)))
    assert (got.totals.macs, got.totals.parameters) == (3 * 16, 16)
    assert [x.shape for x in got.graph.outputs] == [(4,), (3,)]
    assert [node.path for node in got.graph][:2] == ["loop.pass1.v2", "loop.pass1.s"]


def test_a_loop_that_the_data_ends_is_refused_with_the_reason():
    assert "whether it goes on depends on the data" in refused(looped(3, going="data"))


def test_a_loop_of_a_million_passes_is_refused_at_once():
    assert "written out, what loops repeat is more than 16,000 nodes" in refused(looped(10**6))


def test_what_is_refused_in_a_loop_is_named_with_the_loop():
    body = helper.make_graph(
        [node("Identity", "c", "c2"), node("Own", "v", "v2", domain="mine", name="own")], "body",
        [info("i", INT64, ()), info("c", BOOL, ()), info("v")], [info("c2", BOOL, ()), info("v2")],
    )  # fmt: skip
    made = helper.make_node("Loop", ["n", "", "x"], ["y"], name="loop", body=body)
    said = refused(model([made], [("x", [1, 4])], [("n", np.int64(2))]))
    assert "node 'loop' (Loop), pass 1: node 'own' (Own)" in said


def test_a_branch_on_the_data_is_not_counted_and_reads_the_tensors_of_both():
    then = helper.make_graph([node("Conv", "x w", "a")], "then", [], [info("a")])
    other = helper.make_graph([node("Conv", "x v", "b")], "else", [], [info("b")])
    nodes = [
        node("ReduceMax", "x", "m", keepdims=0), node("Less", "m one", "c"),
        helper.make_node("If", ["c"], ["y"], name="if", then_branch=then, else_branch=other),
    ]  # fmt: skip
    tensors = [("one", np.float32(1)), ("w", random(4, 3, 3, 3)), ("v", random(4, 3, 3, 3))]
    got = account(graph_of(model(nodes, [("x", [1, 3, 8, 8])], tensors)))
    assert (got.graph.outputs[0].shape, got.totals.parameters, got.totals.not_counted) == ((4, 6, 6), 216, 1)


def test_a_scan_is_its_body_for_each_step():
    body = helper.make_graph(
        [node("Add", "s e", "s2"), node("MatMul", "s2 w", "o")], "b", [info("s"), info("e")], [info("s2"), info("o")]
    )
    made = helper.make_node(
        "Scan", ["s0", "x"], ["last", "y"], body=body, num_scan_inputs=1, scan_input_axes=[1], scan_output_axes=[1]
    )
    tensors = [("s0", np.zeros((1, 4), np.float32)), ("w", random(4, 5))]
    got = account(graph_of(model([made], [("x", [1, 7, 4])], tensors, outputs=["y"])))
    assert (got.graph.outputs[0].shape, got.totals.macs) == ((7, 5), 7 * 4 * 5)


def test_a_sequence_whose_positions_are_known_is_read_through():
    nodes = [
        node("SplitToSequence", "x", "s", axis=1, keepdims=0), node("SequenceAt", "s p", "a"),
        node("SequenceErase", "s", "s2"), node("SequenceInsert", "s2 a p", "s3"),
        node("ConcatFromSequence", "s3", "y", axis=1, new_axis=1),
    ]  # fmt: skip
    graph = graph_of(model(nodes, [("x", [1, 5, 6])], [("p", np.int64(-1))]))
    assert graph.outputs[0].shape == (5, 6)


def test_a_position_that_the_data_says_is_refused_at_the_operator():
    nodes = [node("SplitToSequence", "x", "s", axis=1), node("ArgMax", "x", "p", axis=1),
             node("SequenceAt", "s p", "y", name="at")]  # fmt: skip
    assert "node 'at' (SequenceAt): the position in the sequence depends on the data" in refused(
        model(nodes, [("x", [1, 5])])
    )


# random models


OPERATORS = ["Transpose", "Unsqueeze", "Gather", "Expand", "Slice", "Pad", "Tile", "ReduceSum", "Concat"]


@st.composite
def chains(draw):
    """A few operators on shapes, one after another, and a map that they read."""
    sizes = [1, *draw(st.lists(st.integers(1, 6), min_size=2, max_size=3))]
    nodes, tensors, dims, name = [], [], list(sizes), "x"
    for i in range(draw(st.integers(1, 4))):
        op = draw(
            st.sampled_from(
                ["Transpose", "Unsqueeze", "Gather", "Expand", "Slice", "Pad", "Tile", "ReduceSum", "Concat"]
            )
        )
        axis = draw(st.integers(1, len(dims) - 1)) if len(dims) > 1 else 0
        made, key = f"y{i}", f"t{i}"
        options: dict = {}
        reads = f"{name} {key}"
        if op == "Transpose":
            order = [0, *draw(st.permutations(range(1, len(dims))))]
            reads, options, dims = name, {"perm": order}, [dims[a] for a in order]
        elif op == "Unsqueeze":
            tensors.append((key, ints(axis)))
            dims.insert(axis, 1)
        elif op == "Gather" and axis:
            tensors.append((key, ints(draw(st.integers(0, dims[axis] - 1)))[0]))
            options = {"axis": axis}
            del dims[axis]
        elif op == "Slice" and axis:
            start = draw(st.integers(0, dims[axis] - 1))
            for more, value in (("a", start), ("b", dims[axis]), ("c", axis)):
                tensors.append((key + more, ints(value)))
            reads, dims[axis] = f"{name} {key}a {key}b {key}c", dims[axis] - start
        elif op == "Pad" and axis:
            sides = [0] * 2 * len(dims)
            sides[axis] = draw(st.integers(0, 3))
            tensors.append((key, ints(*sides)))
            dims[axis] += sides[axis]
        elif op == "ReduceSum" and axis:
            tensors.append((key, ints(axis)))
            options = {"keepdims": draw(st.integers(0, 1))}
            dims[axis : axis + 1] = [1] * options["keepdims"]
        elif op == "Concat" and axis:
            reads, options = f"{name} {name}", {"axis": axis}
            dims[axis] *= 2
        elif op == "Tile":
            tensors.append((key, ints(*[2 if a == axis and axis else 1 for a in range(len(dims))])))
            dims[axis] *= 2 if axis else 1
        else:
            op = "Expand"
            tensors.append((key, ints(*[3 if a == axis and n == 1 and a else n for a, n in enumerate(dims)])))
            dims = list(tensors[-1][1])
        nodes.append(node(op, reads, made, **options))
        name = made
    nodes.append(node("Relu", name, "y"))
    return model(nodes, [("x", sizes)], tensors, opset=18), sizes


@settings(max_examples=60, deadline=None)
@given(chains())
def test_chains_of_operators_on_shapes_have_the_sizes_that_onnx_says(drawn):
    proto, sizes = drawn
    (expected,) = reference.ReferenceEvaluator(proto).run(None, {"x": random(*sizes)})
    assert graph_of(proto).outputs[0].shape == (expected.shape[1:] or (1,))


@pytest.mark.parametrize(("size", "rows"), [("h//8", 4), ("floor(h/8)", 4), ("2*h + 1", 65), ("h", 32)])
def test_sizes_that_the_file_computes_of_those_of_the_input_are_computed(size, rows):
    nodes = [node("Own", "x", "p", domain="mine"), node("Relu", "p", "y")]
    proto = model(nodes, [("x", ["n", 3, "h", "w"])])
    proto.graph.value_info.append(info("p", FLOAT, ["n", 5, size, 7]))
    assert graph_of(proto, (3, 32, 40)).outputs[0].shape == (5, rows, 7)
    proto.graph.value_info[0].type.tensor_type.shape.dim[2].dim_param = "some(h)"
    with pytest.raises(UserError, match=r"node 'p' \(Own\)"):
        graph_of(proto, (3, 32, 40))
