"""ONNX operators that normalise."""

from __future__ import annotations

from cnnatomy.layers import BatchNorm, Foreign, GroupNorm, LayerNorm, LocalResponseNorm
from cnnatomy.layers.layer import CHANNEL, NO_OPERATIONS, REARRANGEMENT, TRAINING, Operations, Shape, elements
from cnnatomy.readers.onnx.call import NodeCall, OnnxResult
from cnnatomy.readers.onnx.pools import powers
from cnnatomy.readers.onnx.values import Batch, Known, Mapped


def batch_norm(call: NodeCall) -> OnnxResult:
    """Batch norm; of sequences and volumes, or with tensors that the network computes, it is counted."""
    x = call.x
    names = ("weight", "bias", "running_mean", "running_var")
    tensors = {name: call.known(i) for i, name in enumerate(names, 1)}
    each = x.dims[1:] if not call.integer("spatial", 1) else x.dims[1:2]  # until version 9: for each pixel too
    for i, value in enumerate(call.inputs[1:5], 2):
        if value is not None and value.dims != each:
            raise call.refusal(f"it got {'x'.join(map(str, each))} channels, its input {i} has the sizes {value.dims}")
    ours = x.batched and len(x.shape) in (1, 3) and None not in tensors.values() and each == x.shape[:1]
    if ours and len([name for name in call.node.output if name]) == 1:
        layer = BatchNorm(call.number("epsilon", 1e-5), round(1 - call.number("momentum", 0.9), 6))
        return call.put(layer, x.map, tensors=tensors)
    n = elements(x.shape)
    learned = tuple((name, known.dims) for name, known in tensors.items() if known and not name.startswith("running"))
    stored = tuple((name, known.dims) for name, known in tensors.items() if known and name.startswith("running"))
    layer_of_others = Foreign(call.op, x.shape, Operations(multiply=n, add=n), TRAINING, learned, stored)
    made = Mapped(call.put(layer_of_others, *[m.map for m in call.maps], tensors=tensors), x.dims, x.batch, x.type)
    return [made, *_further(call, made, [each] * 4, None)]


def _further(call: NodeCall, made: Mapped, dims: list[Shape], batch: Batch | None) -> list[Mapped | Known | None]:
    """Outputs after the first, such as means and deviations, where anything reads them: found in passing."""
    return [
        call.foreign(sizes, NO_OPERATIONS, REARRANGEMENT, made.map, batch=batch, output=i, learns=False)
        if call.output(i)
        else None
        for i, sizes in enumerate(dims, 1)
    ]


def group_norm(call: NodeCall) -> OnnxResult:
    """Instance and group norm; with a scale for each group it is counted."""
    x, scale = call.x, call.known(1)
    groups = x.dims[1] if call.op == "InstanceNormalization" else call.integer("num_groups", 1)
    if len(x.dims) < 2 or groups < 1 or x.dims[1] % groups:
        raise call.refusal(f"{groups} groups do not divide a map of {x.dims}")
    tensors = {"weight": scale, "bias": call.known(2)}
    if scale is not None and scale.dims == x.shape[:1] and x.batched and tensors["bias"] is not None:
        return call.put(GroupNorm(groups, call.number("epsilon", 1e-5)), x.map, tensors=tensors)
    images = elements(call.shape_of(x.dims[:1], x.batch)) if x.batch and x.batch.axis == 0 else 1
    costs = GroupNorm(groups).operations([x.shape], x.shape)
    costs = costs._replace(
        add=costs.add + (images - 1) * groups,
        divide=costs.divide + (images - 1) * 2 * groups,
        exponential=images * groups,
    )
    return call.foreign(x.dims, costs, TRAINING, batch=x.batch, tensors=tensors)


def layer_norm(call: NodeCall) -> OnnxResult:
    """Layer norm over the last axes, and its means and deviations where they are read."""
    return normalised(
        call, call.x, call.known(1), call.known(2), call.axis_of(call.integer("axis", -1), len(call.x.dims))
    )


def normalised(
    call: NodeCall, x: Mapped, scale: Known | None, bias: Known | None, start: int, part: str = ""
) -> list[Mapped | Known | None]:
    """Layer norm of the axes from `start`; with scales that are repeated, or that the network computes, counted."""
    axes = len(x.dims) - start
    within = x.batch is not None and x.batch.axis >= start
    epsilon = call.number("epsilon", 1e-5)
    fits = scale is not None and scale.dims == x.dims[start:] and (bias is None or bias.dims == scale.dims)
    tensors = {"weight": scale, "bias": bias}
    if fits and not within and len(call.maps) <= 2 and axes <= len(x.shape):
        layer = LayerNorm(axes, epsilon, bias=bias is not None)
        made = Mapped(call.put(layer, x.map, part=part, tensors=tensors), x.dims, x.batch, x.type)
    else:
        shape = x.shape if axes <= len(x.shape) else (1, *x.shape)
        costs = LayerNorm(min(axes, len(shape)), bias=call.given(2)).operations([shape], shape)
        found = call.foreign(x.dims, costs, TRAINING, batch=x.batch, tensors=tensors, part=part)
        if not isinstance(found, Mapped):
            return [found]
        made = found
    reduced = (*x.dims[:start], *(1,) * axes)
    return [made, *_further(call, made, [reduced] * 2, None if within else x.batch)]


def rms_norm(call: NodeCall) -> OnnxResult:
    """Division by the root of the mean of squares, then a scale; its inverse where it is read."""
    start = call.axis_of(call.integer("axis", -1), len(call.x.dims))
    return root_mean_square(call, call.x, call.known(1), start)


def root_mean_square(
    call: NodeCall, x: Mapped, scale: Known | None, start: int, part: str = ""
) -> list[Mapped | Known | None]:
    """The same of the axes from `start`."""
    n, groups = elements(x.shape), elements(x.shape) // max(1, elements(x.dims[start:]))
    costs = Operations(multiply=2 * n, add=n + groups, divide=n + groups, exponential=groups)
    made = call.foreign(x.dims, costs, TRAINING, *([x.map] if part else []), batch=x.batch, part=part,
                        tensors={"weight": scale})  # fmt: skip
    if not isinstance(made, Mapped):
        return [made]
    return [made, *_further(call, made, [(*x.dims[:start], *(1,) * (len(x.dims) - start))], x.batch)]


def mean_variance(call: NodeCall) -> OnnxResult:
    """MeanVarianceNormalization: as layer norm, over the axes that are named, without scale and bias."""
    x = call.x
    axes = {call.axis_of(axis, len(x.dims)) for axis in call.integers("axes") or (0, 2, 3)}
    n = elements(x.shape)
    groups = elements(tuple(m for i, m in enumerate(x.dims) if i not in axes and not (x.batch and i == x.batch.axis)))
    costs = Operations(multiply=n, add=3 * n + groups, divide=n + 2 * groups, exponential=groups)
    return call.foreign(x.dims, costs, TRAINING, batch=x.batch)


def lp_norm(call: NodeCall) -> OnnxResult:
    """LpNormalization: division by the norm along one axis."""
    x, axis = call.x, call.axis_of(call.integer("axis", -1), len(call.x.dims))
    n = elements(x.shape)
    costs = powers(call.integer("p", 2), n, n, n // x.dims[axis])
    return call.foreign(x.dims, costs._replace(divide=n), CHANNEL, batch=x.batch)


def lrn(call: NodeCall) -> OnnxResult:
    """Local response normalisation across channels; torch has one more before than after where the size is even."""
    x, numbers = call.x, (call.number("alpha", 1e-4), call.number("beta", 0.75), call.number("bias", 1.0))
    layer = LocalResponseNorm(call.integer("size", 5), *numbers)
    if x.batched and len(x.shape) == 3 and layer.size % 2:
        return call.put(layer, x.map)
    return call.foreign(x.dims, layer.operations([x.shape], x.shape), CHANNEL, batch=x.batch)
