"""Every layer kind, one file for each kind of mixing; `LAYERS` lists them all."""

from cnnatomy.layers.channel import FullyConnected, LocalResponseNorm, RadialBasis
from cnnatomy.layers.channel_and_space import Conv, DeformableConv, MatMul, PartialConv, TransposedConv
from cnnatomy.layers.element import (
    ELU,
    SELU,
    Add,
    Constant,
    LeakyReLU,
    Maximum,
    Maxout,
    Multiply,
    Offset,
    PReLU,
    ReLU,
    ReLU6,
    Scale,
    Sigmoid,
    Softmax,
    Swish,
    Tanh,
)
from cnnatomy.layers.layer import Layer, Operations, Shape, Window
from cnnatomy.layers.rearrangement import (
    ChannelShuffle,
    ChannelToSpace,
    Concat,
    Crop,
    Flatten,
    PadChannels,
    Reshape,
    Slice,
    SpaceToChannel,
    ZeroPad,
    split,
)
from cnnatomy.layers.space import (
    ArgMaxPool,
    AvgPool,
    BedOfNails,
    DepthwiseConv,
    GlobalAvgPool,
    Interpolate,
    MaxPool,
    MaxUnpool,
    MedianFilter,
    RankFilter,
    Shift,
    SpatialPyramidPool,
)
from cnnatomy.layers.time import LSTM, RNN, DeepRNN
from cnnatomy.layers.training import BatchNorm, Dropout, GroupNorm

LAYERS: tuple[type[Layer], ...] = (
    *(Conv, TransposedConv, DeformableConv, PartialConv, MatMul),
    *(FullyConnected, LocalResponseNorm, RadialBasis),
    *(DepthwiseConv, MaxPool, ArgMaxPool, AvgPool, GlobalAvgPool, SpatialPyramidPool, Interpolate, BedOfNails, MaxUnpool),
    *(Shift, RankFilter),
    *(ReLU, ReLU6, LeakyReLU, PReLU, ELU, SELU, Sigmoid, Tanh, Swish, Maxout, Softmax, Scale, Offset, Constant),
    *(Add, Maximum, Multiply),
    *(RNN, LSTM, DeepRNN),
    *(Reshape, Flatten, Concat, Slice, ChannelToSpace, SpaceToChannel, ChannelShuffle, ZeroPad, Crop, PadChannels),
    *(BatchNorm, GroupNorm, Dropout),
)

__all__ = [layer.__name__ for layer in LAYERS] + [
    "LAYERS",
    "Layer",
    "MedianFilter",
    "Operations",
    "Shape",
    "Window",
    "split",
]
