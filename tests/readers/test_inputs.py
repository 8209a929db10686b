"""What a user says of the inputs of a network: sizes, names and types."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnnatomy.errors import UserError
from cnnatomy.readers.caffe import prototxt
from cnnatomy.readers.inputs import TYPES, GivenInput, InputShapes, asked_text, assigned, one_shape, parse


@pytest.mark.parametrize(
    ("text", "shape"),
    [("3x224x224", (3, 224, 224)), ("1x16000", (1, 16000)), ("7", (7,)), ("3,32,32", (3, 32, 32)), ("3X8", (3, 8))],
)
def test_one_input_without_a_name_is_its_shape(text: str, shape: tuple[int, ...]) -> None:
    assert parse(text) == shape


@pytest.mark.parametrize(
    ("text", "inputs"),
    [
        ("77:int64", [GivenInput((77,), "", "int64")]),
        ("tokens:77 image:3x224x224", [GivenInput((77,), "tokens"), GivenInput((3, 224, 224), "image")]),
        ("tokens:77:int64 3x8x8", [GivenInput((77,), "tokens", "int64"), GivenInput((3, 8, 8))]),
        ("serving_default:0:3x8x8", [GivenInput((3, 8, 8), "serving_default:0")]),
        ("step:scalar:int64", [GivenInput((), "step", "int64")]),
    ],
)
def test_inputs_have_names_and_types(text: str, inputs: list[GivenInput]) -> None:
    assert parse(text) == InputShapes(tuple(inputs))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "sizes without the batch"),
        ("3xAx7", "sizes without the batch"),
        ("3x0x7", "from 1 to"),
        (f"3x{10**30}", "from 1 to"),
        ("x".join("1" * 40), "40 axes"),
        ("77:int65", "there is no type 'int65'. Did you mean int64"),
        ("tokens:", "sizes without the batch"),
        ("a:7 a:8", "'a' is given twice"),
        (" ".join("7" * 2000), "at most 1000"),
    ],
)
def test_what_is_no_input_is_refused(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        parse(text)


given_inputs = st.builds(
    GivenInput,
    st.lists(st.integers(1, 1000), max_size=6).map(tuple),
    st.from_regex(r"[a-z_]{1,8}(:0)?", fullmatch=True),
    st.sampled_from(["", *TYPES]),
)


@given(st.lists(given_inputs, min_size=1, max_size=5, unique_by=lambda one: one.name))
def test_inputs_read_back_as_they_are_written(inputs: list[GivenInput]) -> None:
    assert parse(asked_text(InputShapes(tuple(inputs)))) == InputShapes(tuple(inputs))


def test_inputs_go_to_their_names_and_the_others_in_order() -> None:
    axes = {"ids": 1, "mask": 1, "image": 3}
    found = assigned(parse("7:int64 image:3x8x8"), axes)
    assert found == {"image": GivenInput((3, 8, 8), "image"), "ids": GivenInput((7,), "", "int64")}
    assert assigned((5,), axes) == {"ids": GivenInput((5,))}
    assert assigned(None, axes) == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("imag:3x8x8", "the network has 2 inputs: 'ids', 'image', none is 'imag'. Did you mean image"),
        ("7 3x8x8 9", "gives 3 inputs, 7 3x8x8 9; the network has 2 inputs"),
        ("image:8x8", "'image' has 3 axes without the batch; --input image:8x8 gives 2 axes"),
        ("3x8x8", "'ids' has 1 axis without the batch; --input 3x8x8 gives 3 axes"),
        ("ids:7:float32", "'ids' is of type int64; --input ids:7:float32 says float32"),
    ],
)
def test_inputs_that_a_network_has_not_are_refused(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        assigned(parse(text), {"ids": 1, "image": 3}, {"ids": "int64"})


def test_a_network_with_one_input_takes_one_shape() -> None:
    assert one_shape("lenet-5", parse("1x32x32:float32")) == (1, 32, 32)
    for text, message in [("7 8", "has one input"), ("a:7", "has no name"), ("7:int64", "real numbers")]:
        with pytest.raises(UserError, match=message):
            one_shape("lenet-5", parse(text))


TWO_INPUTS = """
input: "image" input: "extra"
input_shape { dim: 1 dim: 3 dim: 8 dim: 8 }
input_shape { dim: 1 dim: 3 dim: 8 dim: 8 }
layer { name: "sum" type: "Eltwise" bottom: "image" bottom: "extra" top: "sum" }
"""


def test_the_inputs_of_a_prototxt_are_given_by_name_or_in_order() -> None:
    for text in ("3x9x9 3x9x9", "extra:3x9x9 image:3x9x9", "extra:3x9x9 3x9x9"):
        graph = prototxt.read(TWO_INPUTS, "net.prototxt", parse(text))
        assert [x.shape for x in (*graph.inputs, *graph.outputs)] == [(3, 9, 9)] * 3
    for text, message in [
        ("imag:3x9x9", r"net.prototxt: --input imag:3x9x9: the network has 2 inputs: .* Did you mean image"),
        ("9x9", r"net.prototxt: the input 'image' has 3 axes without the batch; --input 9x9 gives 2 axes"),
    ]:
        with pytest.raises(UserError, match=message):
            prototxt.read(TWO_INPUTS, "net.prototxt", parse(text))


def test_a_prototxt_whose_input_has_no_size_takes_any_number_of_axes() -> None:
    text = 'layer { name: "fc" type: "InnerProduct" bottom: "data" top: "fc" inner_product_param { num_output: 3 } }'
    assert prototxt.read(text, "net.prototxt", parse("7")).inputs[0].shape == (7,)
