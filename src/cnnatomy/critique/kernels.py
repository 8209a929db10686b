"""Rules about the size of kernels."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from cnnatomy.critique.rule import Case, rule
from cnnatomy.critique.study import Study, by_element, depthwise, paths
from cnnatomy.design.graph import Node
from cnnatomy.edits.change import Fix
from cnnatomy.errors import ShapeError
from cnnatomy.layers import Conv, Dropout, ReLU
from cnnatomy.layers.layer import ELEMENT, Layer, Shape, elements


@rule("C2", "large-kernel", "warning", "lecture 001, 'Chains – VGG', notes; Simonyan and Zisserman 2014, section 2.3")
def large_kernel(study: Study) -> Iterator[Case]:
    """Large kernels that a stack of 3x3 replaces, with fewer parameters and more nonlinearities.

    Two 3x3 see 5x5 with 18 weights for 25, three see 7x7 with 27 for 49, and each brings a nonlinearity. Between its
    layers a stack is counted with as many channels as the narrower of its two sides has. Depthwise kernels cost little
    and are meant; kernels as large as their stride cut patches, and as large as the map vectorise. The first layer of
    all is another matter. A note where that saves less than a quarter of the MACs and of the parameters; less than a
    fortieth, or than a million MACs, are for those who ask for this rule.
    """
    stacks = [stack for node in study.convolutions if not _is_first(study, node) and (stack := _stack(study, node))]
    if not stacks:
        return
    fix: Fix | None = "unsafe" if all(s.fits for s in stacks) else None
    remedy = f"replace {paths([s.node for s in stacks])} by 3x3 convolutions"
    costs, totals = _costs(study, stacks), study.account.totals
    weights, macs = costs.weights - costs.weights_stacked, costs.macs - costs.macs_stacked
    saved = max(macs / max(1, totals.macs), weights / max(1, totals.parameters))
    yield _in_threes(study, stacks, costs, remedy, fix)._replace(
        severity=None if saved >= 0.25 else "note", quiet=saved < 0.025 or macs < 1_000_000
    )


@rule("C10", "large-stem-kernel", "note", "He et al. 2018, section 4.2 and table 5; Szegedy et al. 2015, section 6")
def large_stem_kernel(study: Study) -> Iterator[Case]:
    """A large kernel in the first layer, where three 3x3 were more accurate.

    Three 3x3, with half the channels between them (ResNet-C), gained ResNet-50 0.2 points. They usually have more
    weights and MACs than the one layer, which reads few channels; of a whole network that is little. It is said of
    stems with a stride, as theirs was, not of LeNet's 5x5 on digits. Networks to which they would add more than a
    quarter of all MACs are left out; where the first maps set the memory or the time, one layer is the better choice
    too. It is a matter of the device, and where none is given of those who ask for this rule; on an input that is small
    for the network, it goes with that. Sources disagree: the lectures' personal notes begin with 7x7 and stride 2.
    """
    stems = [node for node in study.convolutions if _is_first(study, node) and getattr(node.layer, "stride", 1) != 1]
    stacks = [stack for node in stems if (stack := _stack(study, node))]
    if stacks:
        costs = _costs(study, stacks)
        if 4 * (costs.macs_stacked - costs.macs) <= study.account.totals.macs:
            case = _in_threes(study, stacks, costs, "replace it by the 3x3 convolutions of ResNet-C", None)
            yield case._replace(quiet=study.device is None, under=("I3",))


class _Stack(NamedTuple):
    """A convolution of a large kernel and the 3x3 that may stand in its place; `fits` says that the shape stays."""

    node: Node
    kernel: int
    layers: tuple[Layer, ...]
    fits: bool


def _is_first(study: Study, node: Node) -> bool:
    return study.rows[node].weight_layers == 1


class _Costs(NamedTuple):
    """What large kernels take, and what the stacks in their places take."""

    weights: int
    weights_stacked: int
    macs: int
    macs_stacked: int


def _costs(study: Study, stacks: Sequence[_Stack]) -> _Costs:
    rows = [study.rows[stack.node] for stack in stacks]
    after = [_cost(stack.layers, row.inputs[0]) for stack, row in zip(stacks, rows, strict=True)]
    weights, macs = sum(row.weights for row in rows), sum(row.macs for row in rows)
    return _Costs(weights, sum(w for w, _ in after), macs, sum(m for _, m in after))


def _in_threes(study: Study, stacks: Sequence[_Stack], costs: _Costs, remedy: str, fix: Fix | None) -> Case:
    sizes = sorted({stack.kernel for stack in stacks})
    layers = sum(isinstance(layer, Conv) for stack in stacks for layer in stack.layers)
    kernels = " and ".join(f"{k}x{k}" for k in sizes)
    weights, weights_stacked, macs, macs_stacked = costs
    counts = f"{weights:,} weights become {weights_stacked:,}, and {macs:,} MACs {macs_stacked:,}"
    return Case(
        where=tuple(stack.node.path for stack in stacks),
        text=f"{kernels} as stacks of 3x3: {counts}, with {layers} nonlinearities for {len(stacks)}",
        evidence={
            "kernels": sizes,
            **costs._asdict(),
            "nonlinearities": len(stacks),
            "nonlinearities_stacked": layers,
        },
        remedy=study.remedy(remedy, {stack.node: stack.layers for stack in stacks}, fix=fix),
    )


def _stack(study: Study, node: Node) -> _Stack | None:
    """3x3 convolutions that see at least as much; None where the rules are not concerned."""
    conv = node.layer
    if not isinstance(conv, Conv) or conv.kernel in (1, 3) or conv.dilation != 1:
        return None
    kernel, stride, shape = conv.kernel, conv.stride, node.inputs[0].shape
    if not isinstance(kernel, int) or not isinstance(stride, int) or kernel % 2 == 0 or depthwise(node):
        return None
    strides = _strides(kernel, stride)
    if stride >= kernel or kernel >= min(shape[1:]) or not strides:
        return None
    if _is_first(study, node):
        between = -(-conv.channels // (2 * conv.groups)) * conv.groups
    else:
        between = min(shape[0], conv.channels)
    follow = _following(study, node)
    unfit: tuple[Layer, ...] = ()
    for padding in itertools.product((1, 0), repeat=len(strides)):
        layers: list[Layer] = []
        for s, p in zip(strides[:-1], padding, strict=False):
            layers += [conv.replace(channels=between, kernel=3, stride=s, padding=p), *follow]
        stack = (*layers, conv.replace(kernel=3, stride=strides[-1], padding=padding[-1]))
        output = _output(stack, shape)
        if output == node.output.shape:
            return _Stack(node, kernel, stack, True)
        unfit = unfit or (stack if output else ())
    return _Stack(node, kernel, unfit, False) if unfit else None


def _strides(kernel: int, stride: int) -> list[int]:
    """The strides of a stack of 3x3 that sees as much, three at least for 7x7; none where they do not multiply up."""
    strides: list[int] = []
    seen = step = 1
    while seen < kernel or len(strides) < min(kernel // 2, 3):
        strides.append(2 if stride % 2 == 0 else stride)
        stride //= strides[-1]
        seen += 2 * step
        step *= strides[-1]
    return strides if stride == 1 else []


def _following(study: Study, node: Node) -> tuple[Layer, ...]:
    """Normalisation and activation after a convolution, which a stack has between its layers too."""
    found: list[Layer] = []
    reader = study.only_reader(node.output)
    while reader is not None and by_element(reader):
        if not isinstance(reader.layer, Dropout):
            found.append(reader.layer)
        if reader.layer.kind == ELEMENT:
            return tuple(found)
        reader = study.only_reader(reader.output)
    return (*found, ReLU())


def _output(layers: Sequence[Layer], shape: Shape) -> Shape | None:
    """The shape that leaves a chain; None where a layer does not fit."""
    try:
        for layer in layers:
            shape = layer.output_shape(shape)
    except ShapeError:
        return None
    return shape


def _cost(layers: Sequence[Layer], shape: Shape) -> tuple[int, int]:
    """Weights and MACs of a chain."""
    weights = macs = 0
    for layer in layers:
        output = layer.output_shape(shape)
        weights += sum([elements(s) for s in layer.parameters(shape).values() if len(s) > 1])
        macs += layer.operations([shape], output).mac
        shape = output
    return weights, macs
