"""An example of every layer and block, as a design writes it: what `cnnatomy layers` and `docs/layers.md` show.

A kind that can be read by its name alone on a map of 64x56x56 needs no entry here.
"""

from __future__ import annotations

from typing import NamedTuple

from cnnatomy.design import Graph, Node, Scope
from cnnatomy.design.blocks import Part
from cnnatomy.errors import UserError
from cnnatomy.layers.layer import Shape
from cnnatomy.readers.yaml import design

MAP: Shape = (64, 56, 56)
IMAGE: Shape = (3, 224, 224)
LARGE_IMAGE: Shape = (3, 299, 299)
SEQUENCE: Shape = (16, 64)
"""(time, features)"""


class Written(NamedTuple):
    """YAML of a part that is the kind or holds it, and the shape of what it reads."""

    text: str
    input: Shape = MAP


CONV = "Conv: {channels: 64, kernel: 3, padding: 1}"

EXAMPLES: dict[str, Written] = {
    "Conv": Written(CONV),
    "TransposedConv": Written("TransposedConv: {channels: 32, kernel: 4, stride: 2, padding: 1}"),
    "DeformableConv": Written(
        "Parallel: {parts: [Chain: [], Conv: {channels: 18, kernel: 3, padding: 1}],"
        " join: {DeformableConv: {channels: 64, kernel: 3, padding: 1}}}"
    ),
    "PartialConv": Written(
        "PartialConv: {connections: [[0, 1, 2], [3, 4, 5], [0, 1, 2, 3, 4, 5]], kernel: 5}", (6, 14, 14)
    ),
    "MatMul": Written(
        "Parallel: {parts: [Reshape: {shape: [64, -1]}, Reshape: {shape: [64, -1]}],"
        " join: {MatMul: {transpose_second: true}}}"
    ),
    "FullyConnected": Written("FullyConnected: {features: 10}", (512,)),
    "RadialBasis": Written("RadialBasis: {codes: [[1.0, 1.0, -1.0], [-1.0, 1.0, 1.0]]}", (3,)),
    "GroupMaximum": Written("GroupMaximum: {owners: [0, 0, 1, 1, 1]}", (5,)),
    "DepthwiseConv": Written("DepthwiseConv: {kernel: 3, padding: 1, bias: false}"),
    "MaxPool": Written("MaxPool: {kernel: 3, stride: 2, padding: 1}"),
    "ArgMaxPool": Written("ArgMaxPool: {kernel: 2}"),
    "AvgPool": Written("AvgPool: {kernel: 2}"),
    "Subsample": Written("Subsample: {stride: 2}"),
    "Interpolate": Written("Interpolate: {scale: 2, mode: bilinear}"),
    "BedOfNails": Written("BedOfNails: {scale: 2}"),
    "MaxUnpool": Written(
        "Parallel: {parts: [MaxPool: {kernel: 2}, ArgMaxPool: {kernel: 2}], join: {MaxUnpool: {kernel: 2}}}"
    ),
    "Normalise": Written("Normalise: {mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225]}", IMAGE),
    "Constant": Written("Constant: {scale: 0.17}"),
    "AddConstant": Written("AddConstant: {shift: 3}"),
    "Add": Written(f"Parallel: {{parts: [Chain: [], {CONV}], join: Add}}"),
    "Maximum": Written(f"Parallel: {{parts: [{CONV}, {CONV}], join: Maximum}}"),
    "Multiply": Written(
        "Parallel: {parts: [Chain: [], Chain: [GlobalAvgPool, Conv: {channels: 64, kernel: 1}, Sigmoid]],"
        " join: Multiply}"
    ),
    "RNN": Written("RNN: {hidden: 128}", SEQUENCE),
    "LSTM": Written("LSTM: {hidden: 128}", SEQUENCE),
    "DeepRNN": Written("DeepRNN: {hidden: 128}", SEQUENCE),
    "Reshape": Written("Reshape: {shape: [64, -1]}"),
    "Concat": Written(f"Parallel: {{parts: [Chain: [], {CONV}], join: {{Concat: {{axis: 1}}}}}}"),
    "Slice": Written("Slice: {start: 0, stop: 32}"),
    "ChannelToSpace": Written("ChannelToSpace: {factor: 2}"),
    "SpaceToChannel": Written("SpaceToChannel: {factor: 2}"),
    "ChannelShuffle": Written("ChannelShuffle: {groups: 4}"),
    "ZeroPad": Written("ZeroPad: {margin: 1}"),
    "Crop": Written("Crop: {margin: 1}"),
    "PadChannels": Written("PadChannels: {channels: 128}"),
    "Permute": Written("Permute: {order: [1, 2, 0]}"),
    "GroupNorm": Written("GroupNorm: {groups: 32}"),
    "Chain": Written(f"Chain: [{CONV}, BatchNorm, ReLU]"),
    "TappedChain": Written(
        f"TappedChain: {{parts: {{fine: {{{CONV}}}, coarse: {{MaxPool: {{kernel: 2}}}}}}, taps: [fine]}}"
    ),
    "Parallel": Written(f"Parallel: [Conv: {{channels: 64, kernel: 1}}, {CONV}]"),
    "Dense": Written("Dense: [DenseLayer: {growth: 32}, DenseLayer: {growth: 32}]"),
    "Residual": Written(f"Residual: {{parts: [{CONV}, BatchNorm, ReLU, {CONV}, BatchNorm], after: ReLU}}"),
    "Heads": Written("Heads: {digit: {LinearHead: {classes: 10}}, writer: {LinearHead: {classes: 300}}}"),
    "Named": Written(f"squeeze: {{{CONV}}}"),
    "Projection": Written("Projection: {channels: 128, stride: 2}"),
    "ZeroShortcut": Written("ZeroShortcut: {channels: 128, stride: 2}"),
    "Deformable": Written("Deformable: {channels: 64}"),
    "Stem": Written("Stem", IMAGE),
    "CodeHead": Written("CodeHead: {codes: [[1.0, 1.0, -1.0], [-1.0, 1.0, 1.0]]}"),
    "MapHead": Written("MapHead: {channels: 19, scale: 4}"),
    "DepthwiseSeparable": Written("DepthwiseSeparable: {channels: 128}"),
    "NaiveInception": Written("NaiveInception: {ones: 64, threes: 128, fives: 32}", (192, 28, 28)),
    "Inception": Written(
        "Inception: {ones: 64, reduce3: 96, threes: 128, reduce5: 16, fives: 32, pooled: 32}", (192, 28, 28)
    ),
    "GoogLeNetTail": Written("GoogLeNetTail", IMAGE),
    "AuxiliaryHead": Written("AuxiliaryHead", (512, 14, 14)),
    "BNInception": Written(
        "BNInception: {ones: 64, reduce3: 64, threes: 64, reduce33: 64, doubles: 96,"
        " pool: {AvgPool: {kernel: 3, stride: 1, padding: 1}}, projected: 32}",
        (192, 28, 28),
    ),
    "BNInceptionTail": Written("BNInceptionTail", IMAGE),
    "InceptionA": Written("InceptionA: {ones: 64, second: [48, 64], third: [64, 96, 96], pooled: 32}", (192, 35, 35)),
    "InceptionB": Written(
        "InceptionB: {ones: 192, second: [128, 128, 192], third: [128, 128, 128, 128, 192], pooled: 192}",
        (768, 17, 17),
    ),
    "InceptionC": Written(
        "InceptionC: {ones: 320, second: [[384, 1]], third: [[448, 1], [384, 3]], fan: 384, pooled: 192}", (1280, 8, 8)
    ),
    "ReductionA": Written("ReductionA: {k: 64, l: 96, m: 96, n: 384}", (288, 35, 35)),
    "ReductionB": Written("ReductionB: {first: [192, 320], second: [192, 192, 192, 192]}", (768, 17, 17)),
    "InceptionV3Tail": Written("InceptionV3Tail", LARGE_IMAGE),
    "InceptionV2TableTail": Written("InceptionV2TableTail", LARGE_IMAGE),
    "InceptionV3AuxiliaryHead": Written("InceptionV3AuxiliaryHead", (768, 17, 17)),
    "InceptionV4Tail": Written("InceptionV4Tail", LARGE_IMAGE),
    "Fire": Written("Fire: {squeeze: 16, expand: 64}"),
    "DenseLayer": Written("DenseLayer: {growth: 32}"),
    "MSDNetTail": Written("MSDNetTail: {channels: 32, kernel: 7}", IMAGE),
    "Scales": Written("Scales: {channels: [128, 256]}"),
    "MultiScaleLayer": Written(
        "Chain: [Scales: {channels: [128, 256]}, MultiScaleLayer: {growth: 16, factors: [1, 2, 4], scales: 3}]"
    ),
    "ScaleTransition": Written("Chain: [Scales: {channels: [128, 256]}, ScaleTransition: {factors: [1, 2, 4]}]"),
    "Exits": Written("Exits: {early: {BasicBlock: {width: 64}}, late: {BasicBlock: {width: 64}}}"),
    "BasicBlock": Written("BasicBlock: {width: 64}"),
    "Bottleneck": Written("Bottleneck: {width: 64, stride: 2}"),
    "PreActBasicBlock": Written("PreActBasicBlock: {width: 64}"),
    "PreActBottleneck": Written("PreActBottleneck: {width: 64}"),
    "PlainBlock": Written("PlainBlock: {width: 64}"),
    "OrderedBlock": Written("OrderedBlock: {width: 64, order: conv bn relu conv + bn relu}"),
    "GroupedBottleneck": Written("GroupedBottleneck: {channels: 256}"),
    "ConcatenatedBottleneck": Written("ConcatenatedBottleneck: {channels: 256}"),
    "AggregatedBottleneck": Written("AggregatedBottleneck: {channels: 256}"),
    "PersonalTail": Written("PersonalTail", IMAGE),
    "InvertedResidual": Written("InvertedResidual: {channels: 64, expansion: 6}"),
    "XceptionTail": Written("XceptionTail", LARGE_IMAGE),
    "XceptionBlock": Written("XceptionBlock: {widths: [128, 128], stride: 2}"),
    "SeparableConvolutions": Written("SeparableConvolutions: {widths: [1536, 2048]}", (1024, 10, 10)),
    "ShuffleUnit": Written("ShuffleUnit: {channels: 64, groups: 4}"),
    "SmallStem": Written("SmallStem", IMAGE),
    "ConvShiftConv": Written("ConvShiftConv: {channels: 64, expansion: 4}"),
    "DualPathProjection": Written("DualPathProjection: {channels: 288}"),
    "DualPathBlock": Written("DualPathBlock: {residual: 256, growth: 16, width: 96, groups: 32, projects: true}"),
    "ResidualForm": Written("ResidualForm: {repeat: 3, width: 64}"),
    "DenseForm": Written("DenseForm: {repeat: 3, width: 64}"),
    "SharedDenseForm": Written("SharedDenseForm: {repeat: 3, width: 64}"),
    "DualPathForm": Written("DualPathForm: {residual: 48, growth: 16, width: 64}"),
    "InceptionResNetA": Written("InceptionResNetA: {third: [32, 32, 32]}", (256, 35, 35)),
    "InceptionResNetB": Written("InceptionResNetB: {first: 128, second: [128, 128, 128]}", (896, 17, 17)),
    "InceptionResNetC": Written("InceptionResNetC: {second: [192, 192, 192]}", (1792, 8, 8)),
    "InceptionResNetReductionB": Written("InceptionResNetReductionB: {second: 256, third: [256, 256]}", (896, 17, 17)),
    "InceptionResNetV1Tail": Written("InceptionResNetV1Tail", LARGE_IMAGE),
    "Separable": Written("Separable: {filters: 64, kernel: 5, stride: 2}"),
    "FactorizedReduction": Written("FactorizedReduction: {filters: 128}"),
    "Branch": Written("Branch: {operation: sep 5x5, filters: 64}"),
    "Cell": Written(
        "Cells: [Cell: {filters: 32, pairs: [[sep 5x5, 0, max 3x3, 1], [sep 3x3, 2, identity, 1]], output: [2, 3]}]"
    ),
    "Cells": Written(
        "Cells: [Cell: {filters: 32, pairs: [[sep 3x3, 0, identity, 1]], output: [2]},"
        " Cell: {filters: 32, pairs: [[avg 3x3, 0, sep 3x3, 1]], output: [2]}]"
    ),
    "StemConv": Written("StemConv: {filters: 32}", IMAGE),
}


class Example(NamedTuple):
    """A part as YAML to paste into a design, its graph, and where in it the kind is.

    Attributes:
        text: YAML.
        graph: the part alone, on one input.
        at: the layer or block of the kind; the tree of all where the kind only gives a name.
    """

    text: str
    graph: Graph
    at: Node | Scope


def example(name: str) -> Example:
    """The example of a kind of `design.known_types()`.

    Raises:
        UserError: if it has none that can be read; which says what to add.
    """
    written = EXAMPLES.get(name, Written(name))
    try:
        part = read(written.text)
        graph = Graph.trace(part, written.input)
    except UserError as error:
        raise UserError(f"{name} needs an example in {__name__}.EXAMPLES, a part that holds it: {error}") from None
    at = graph.root if name == "Named" else _first(graph.root, name)
    if at is None:
        raise UserError(f"the example of {name} in {__name__}.EXAMPLES does not hold one: {written.text}")
    return Example(design.dump(design.written(part)).removesuffix("...\n"), graph, at)


def read(text: str) -> Part:
    """A layer or block from YAML as it stands in a design, without the design around it.

    Raises:
        UserError: if it is none.
    """
    reader = design.Reader(text, "example", design.known_types())
    if reader.root is None:
        raise UserError("example: expected a layer or block, got nothing")
    part: Part = reader.part(reader.root, 1)
    return part


def _first(scope: Scope, name: str) -> Node | Scope | None:
    for child in scope.children:
        if type(child.layer if isinstance(child, Node) else child.block).__name__ == name:
            return child
        found = _first(child, name) if isinstance(child, Scope) else None
        if found:
            return found
    return None
