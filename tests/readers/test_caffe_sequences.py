"""Caffe's recurrent layers, and where the batch is in what they read."""

from __future__ import annotations

import pytest

import cnnatomy as cn
from cnnatomy.analysis import account
from cnnatomy.readers.caffe import prototxt

WORDS = """layer { name: "in" type: "Input" top: "words" top: "cont"
  input_param { shape { dim: 20 dim: 3 } shape { dim: 20 dim: 3 } } }
layer { name: "emb" type: "Embed" bottom: "words" top: "emb" embed_param { input_dim: 50 num_output: 12 } }
"""


def recurrent(kind: str, more: str = "", options: str = "") -> str:
    return (
        f'layer {{ name: "r" type: "{kind}" bottom: "emb" bottom: "cont" {more} top: "r" '
        f"recurrent_param {{ num_output: 8 {options} }} }}\n"
    )


def outputs(got: cn.analysis.Account) -> dict[str, tuple[int, ...]]:
    return {row.path: row.output for row in got}


def test_an_lstm_of_caffe_has_one_bias_and_counts_each_weight_once_a_step():
    got = account(prototxt.read(WORDS + recurrent("LSTM")))
    weights = 4 * 8 * 12 + 4 * 8 * 8
    assert got.totals.parameters == 51 * 12 + weights + 4 * 8
    assert got.totals.macs == 20 * weights
    assert [row.output for row in got] == [(20, 12), (20, 8)]


def test_an_rnn_of_caffe_has_a_matrix_for_its_output():
    got = account(prototxt.read(WORDS + recurrent("RNN")))
    assert got.totals.parameters == 51 * 12 + 8 * 12 + 8 * 8 + 8 * 8 + 2 * 8
    assert got.totals.macs == 20 * (8 * 12 + 8 * 8 + 8 * 8)


def test_what_does_not_change_in_time_is_multiplied_once():
    static = 'layer { name: "image" type: "Input" top: "image" input_param { shape { dim: 3 dim: 7 } } }\n'
    plain, more = (
        prototxt.read(text)
        for text in (WORDS + recurrent("LSTM"), static + WORDS + recurrent("LSTM", 'bottom: "image"'))
    )
    assert account(more).totals.macs - account(plain).totals.macs == 4 * 8 * 7
    assert account(more).totals.parameters - account(plain).totals.parameters == 4 * 8 * 7


def test_the_last_states_are_tops_where_they_are_exposed():
    text = WORDS + recurrent("LSTM", 'top: "h" top: "c"', "expose_hidden: true").replace(
        'top: "h" top: "c" top: "r"', 'top: "r" top: "h" top: "c"'
    )
    assert [node.output.shape for node in prototxt.read(text)][-3:] == [(20, 8), (1, 8), (1, 8)]


def test_one_step_of_an_lstm_reads_cells_and_four_sums():
    text = """layer { name: "in" type: "Input" top: "c" top: "g" top: "on"
      input_param { shape { dim: 1 dim: 2 dim: 5 } shape { dim: 1 dim: 2 dim: 20 } shape { dim: 1 dim: 2 } } }
    layer { name: "unit" type: "LSTMUnit" bottom: "c" bottom: "g" bottom: "on" top: "c1" top: "h1" }"""
    assert [node.output.shape for node in prototxt.read(text)] == [(1, 5), (1, 5)]


def test_the_frames_of_a_clip_are_of_one_image_up_to_the_recurrent_layer():
    """As in LRCN: every layer works on each frame, with one set of weights."""
    text = """input: "data" input_shape { dim: 16 dim: 3 dim: 8 dim: 8 }
    input: "clip" input_shape { dim: 16 }
    layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
      convolution_param { num_output: 4 kernel_size: 8 } }
    layer { name: "data_r" type: "Reshape" bottom: "conv" top: "x" reshape_param { shape { dim: 16 dim: 1 dim: 4 } } }
    layer { name: "clip_r" type: "Reshape" bottom: "clip" top: "cont" reshape_param { shape { dim: 16 dim: 1 } } }
    layer { name: "lstm" type: "LSTM" bottom: "x" bottom: "cont" top: "h" recurrent_param { num_output: 2 } }
    layer { name: "fc" type: "InnerProduct" bottom: "h" top: "fc" inner_product_param { num_output: 5 axis: 2 } }
    layer { name: "p" type: "Softmax" bottom: "fc" top: "p" softmax_param { axis: 2 } }"""
    got = account(prototxt.read(text))
    conv, lstm, fc = 4 * 3 * 64, 4 * 2 * (4 + 2), 5 * 2
    assert got.totals.macs == 16 * (conv + lstm + fc)
    assert got.totals.parameters == conv + 4 + lstm + 8 + fc + 5
    assert outputs(got)["p"] == (16, 5)


def test_segments_that_are_cut_out_of_an_image_and_put_together_again_count_each():
    text = """input: "data" input_dim: 2 input_dim: 9 input_dim: 4 input_dim: 4
    layer { name: "cut" type: "Reshape" bottom: "data" top: "cut"
      reshape_param { shape { dim: -1 dim: 3 dim: 4 dim: 4 } } }
    layer { name: "fc" type: "InnerProduct" bottom: "cut" top: "fc" inner_product_param { num_output: 6 } }
    layer { name: "back" type: "Reshape" bottom: "fc" top: "back"
      reshape_param { shape { dim: -1 dim: 1 dim: 3 dim: 6 } } }
    layer { name: "mean" type: "Pooling" bottom: "back" top: "mean"
      pooling_param { pool: AVE kernel_h: 3 kernel_w: 1 } }"""
    got = account(prototxt.read(text))
    assert outputs(got)["cut"] == (3, 3, 4, 4)
    assert (outputs(got)["back"], outputs(got)["mean"]) == ((1, 3, 6), (1, 1, 6))
    assert got.totals.macs == 3 * 48 * 6


def test_rows_that_are_listed_are_things_of_one_image():
    text = """input: "data" input_shape { dim: 1 dim: 3 dim: 4 dim: 4 }
    input: "which" input_shape { dim: 6 }
    layer { name: "take" type: "BatchReindex" bottom: "data" bottom: "which" top: "take" }
    layer { name: "conv" type: "Convolution" bottom: "take" top: "c"
      convolution_param { num_output: 2 kernel_size: 1 } }"""
    got = account(prototxt.read(text))
    assert outputs(got)["conv"] == (6, 2, 4, 4)
    assert got.totals.macs == 6 * 3 * 2 * 16


def test_frames_are_sliced_and_concatenated_along_their_own_axis():
    text = (
        WORDS
        + """
    layer { name: "cut" type: "Slice" bottom: "emb" top: "a" top: "b" slice_param { axis: 0 slice_point: 5 } }
    layer { name: "keep" type: "ReLU" bottom: "cont" top: "k" }"""
        + recurrent("LSTM")
    )
    assert {node.path: node.output.shape for node in prototxt.read(text)}["cut_2"] == (15, 12)


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (
            'type: "Slice" bottom: "d" top: "a" top: "b" slice_param { axis: 0 }',
            "the images of a batch are taken apart",
        ),
        ('type: "Softmax" bottom: "d" softmax_param { axis: 0 }', "softmax over the images of a batch is not read"),
        ('type: "Softmax" bottom: "d" softmax_param { axis: 4 }', "axis 4: the blob 2x3x4x4 has axes 0 to 3"),
        (
            'type: "Reshape" bottom: "d" reshape_param { shape { dim: 3 dim: -1 } }',
            "2x3x4x4 to 3x32 mixes the 2 images of the batch",
        ),
        (
            'type: "Reshape" bottom: "d" reshape_param { shape { dim: 0 dim: 7 } }',
            "elements of 2x3x4x4 do not fit into 2x7",
        ),
        (
            'type: "Permute" bottom: "d" permute_param { order: 1 order: 2 order: 0 }',
            "may become the first or the second",
        ),
        (
            'type: "Permute" bottom: "d" permute_param { order: 1 order: 1 }',
            "expected each axis from 0 to 3 at most once",
        ),
        (
            'type: "LSTM" bottom: "d" recurrent_param { num_output: 2 }',
            "it reads two blobs: a sequence, and where it goes",
        ),
        (
            'type: "InnerProduct" bottom: "d" inner_product_param { num_output: 2 axis: 0 }',
            "one vector of several images",
        ),
    ],
)
def test_what_would_mix_images_or_has_no_such_axis_is_refused(layer, message):
    net = 'input: "d" input_dim: 2 input_dim: 3 input_dim: 4 input_dim: 4\n'
    with pytest.raises(cn.UserError) as caught:
        prototxt.read(f'{net}layer {{ name: "l" {layer} }}', "x.prototxt")
    assert str(caught.value).startswith("x.prototxt, line 2: ")
    assert message in str(caught.value)
