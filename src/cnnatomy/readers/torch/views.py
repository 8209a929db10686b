"""Calls of torch that become several layers, or whose result tells which layer they are: parts and reshapes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from cnnatomy import layers as ours
from cnnatomy.design.graph import FeatureMap
from cnnatomy.layers import Foreign
from cnnatomy.layers.layer import REARRANGEMENT, Layer, Shape
from cnnatomy.readers.torch.batch import place_of, put, shape_of
from cnnatomy.readers.torch.spec import LAST_STATE, CallSpec, batched, one_image
from cnnatomy.readers.torch.tensors import SOURCE, TWIN, map_of, stand_for

if TYPE_CHECKING:
    from cnnatomy.readers.torch.handlers import Handler
    from cnnatomy.readers.torch.tracer import Tracer


def _chain(t: Tracer, fmap: FeatureMap, layers: Sequence[Layer]) -> FeatureMap:
    for layer in layers:
        fmap = t.add(layer, (fmap,), layer.output_shape(fmap.shape))
    return fmap


def _view(out: Any, fmap: FeatureMap, source: Any) -> Any:
    stand_for(out, fmap)
    setattr(out, SOURCE, source)
    return out


def parts(t: Tracer, func: Any, args: Any, kwargs: Any) -> Any:
    """Parts along channels, rows or columns are `Slice`."""
    x = args[0]
    fmap = batched(x)
    dim = kwargs.get("dim", args[2] if len(args) > 2 else 0)
    axis = dim % x.dim() - 1 if fmap is not None and isinstance(dim, int) else -1
    if fmap is None or not 0 <= axis <= 2:
        return t.call(func, args, kwargs)
    outputs = func(*args, **kwargs)
    start = 0
    for out in outputs:
        stop = start + out.shape[axis + 1]
        _view(out, _chain(t, fmap, [ours.Slice(start, stop, axis)]), x)
        start = stop
    return outputs


def item(t: Tracer, func: Any, args: Any, kwargs: Any) -> Any:
    """`x[:, a:b]` is `Slice`, and `x[..., ::2, ::2]` is `Subsample`."""
    x, index = args
    fmap = batched(x)
    layers = None if fmap is None else _slices(fmap.shape, index if isinstance(index, tuple) else (index,))
    if fmap is None or layers is None:
        return t.call(func, args, kwargs)
    return _view(func(x, index), _chain(t, fmap, layers), x)


def _slices(shape: Shape, index: tuple[Any, ...]) -> list[Layer] | None:
    if index.count(Ellipsis) if all(i is Ellipsis or isinstance(i, slice) for i in index) else 0:
        at = index.index(Ellipsis)
        index = (*index[:at], *[slice(None)] * (len(shape) + 2 - len(index)), *index[at + 1 :])
    if len(index) > len(shape) + 1 or len(shape) > 3:
        return None
    if not all(isinstance(i, slice) and _plain(i) for i in index) or index[0] != slice(None):
        return None
    layers: list[Layer] = []
    steps = [1, 1, 1]
    for axis, part in enumerate(index[1:]):
        start, stop, steps[axis] = part.indices(shape[axis])
        if start >= stop:
            return None
        if steps[axis] == 1 and (start, stop) != (0, shape[axis]):
            layers.append(ours.Slice(start, stop, axis))
        elif steps[axis] != 1 and (axis == 0 or (start, stop) != (0, shape[axis])):
            return None
    if steps[1:] != [1, 1]:
        if len(shape) != 3:
            return None
        layers.append(ours.Subsample((steps[1], steps[2])))
    return layers


def _plain(part: slice) -> bool:
    return all(n is None or isinstance(n, int) for n in (part.start, part.stop, part.step))


def reshaped(t: Tracer, func: Any, args: Any, kwargs: Any) -> Any:
    """`Flatten` or `Reshape`, if the batch stays the first axis."""
    x = args[0]
    fmap = batched(x)
    if fmap is None or func.__name__ == "__get__" or (len(args) > 1 and hasattr(args[1], "itemsize")):
        return t.call(func, args, kwargs)  # a view as another type
    out = func(*args, **kwargs)
    shape = tuple(out.shape)
    if len(shape) < 2 or shape[0] != 1:
        return t.call(func, args, kwargs)
    if shape == tuple(x.shape):
        return _view(out, fmap, x)
    return _view(out, _chain(t, fmap, [ours.Flatten() if len(shape) == 2 else ours.Reshape(shape[1:])]), x)


def squeezed(t: Tracer, func: Any, args: Any, kwargs: Any) -> Any:
    """A reshape, unless the batch is among the axes that go."""
    axes = args[0].dim()
    dim = kwargs.get("dim", args[1] if len(args) > 1 else tuple(range(axes)))
    if any(axis % axes == 0 for axis in ((dim,) if isinstance(dim, int) else dim)):
        return t.call(func, args, kwargs)
    return reshaped(t, func, args, kwargs)


def mean(t: Tracer, func: Any, args: Any, kwargs: Any) -> Any:
    """The mean over rows and columns is `GlobalAvgPool`."""
    x = args[0]
    fmap = batched(x, 4)
    dim = kwargs.get("dim", args[1] if len(args) > 1 else None)
    keep = kwargs.get("keepdim", args[2] if len(args) > 2 else False)
    axes = (dim,) if isinstance(dim, int) else tuple(dim or ())
    if fmap is None or t.for_real or kwargs.get("dtype") or {axis % 4 for axis in axes} != {2, 3}:
        return t.call(func, args, kwargs)
    fmap = _chain(t, fmap, [ours.GlobalAvgPool()] if keep else [ours.GlobalAvgPool(), ours.Flatten()])
    out = x.new_empty((1, *fmap.shape))
    stand_for(out, fmap)
    return out


def repeated(t: Tracer, func: Any, args: Any, kwargs: Any) -> Any:
    """Each part as often as a constant says is a choice of parts: how many there are depends on its values."""
    given = dict(zip(("input", "repeats", "dim"), args, strict=False)) | kwargs
    times, dim = given.get("repeats"), given.get("dim")
    if not isinstance(times, torch.Tensor) or times.is_meta or t.known(times) or not isinstance(dim, int):
        return t.call(func, args, kwargs)
    x = given["input"]
    chosen = torch.arange(x.shape[dim]).repeat_interleave(times.cpu())
    return t.call(torch.index_select, (x, dim, chosen), {})


def recurrent(t: Tracer, func: Any, args: Any, kwargs: Any) -> Any:
    """One layer in one direction with biases, of one image, from a state of zeros, is `LSTM` or `RNN`."""
    if len(args) > 3 and isinstance(args[3], (list, tuple)):
        return of_packed(t, func, args, kwargs)
    x, state, weights = args[:3]
    fmap, place = one_image(x), place_of(x)
    plain = len(args) == 9 and args[3:5] == (True, 1) and args[7:] == (False, place == 0) and len(weights) == 4
    layers = {"lstm": ours.LSTM, "rnn_tanh": ours.RNN}
    if fmap is None or x.dim() != 3 or not plain or t.known(state) or func.__name__ not in layers:
        return t.call(func, args, kwargs)
    layer = layers[func.__name__](weights[1].shape[1])
    names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
    outputs = func(*t.swapped(args), **kwargs)
    made = t.apply(CallSpec(layer, (fmap,), tuple(zip(names, weights, strict=True))))
    put(outputs[0], place)
    stand_for(outputs[0], made)
    t.idle = True
    for last in outputs[1:]:
        put(last, 1)
        shape = shape_of(last)
        stand_for(last, t.add(Foreign(LAST_STATE, shape, mixes=REARRANGEMENT), (made,), shape))
    return outputs


def packed(t: Tracer, func: Any, args: Any, kwargs: Any) -> Any:
    """Sequences of known lengths, one step after another."""
    x, lengths = args[:2]
    fmap = map_of(x)
    if fmap is None or t.known(lengths):
        return t.call(func, args, kwargs)
    steps, sizes = func(x, lengths, *args[2:], **kwargs)
    shape = shape_of(steps)
    stand_for(steps, t.add(Foreign("pack", shape, mixes=REARRANGEMENT), (fmap,), shape))
    return steps, sizes


def of_packed(t: Tracer, func: Any, args: Any, kwargs: Any) -> Any:
    """A function of packed sequences, to which the numbers of sequences at each step are given with their values."""
    sizes = args[1]
    setattr(sizes, TWIN, sizes)
    try:
        return t.call(func, args, kwargs)
    finally:
        delattr(sizes, TWIN)


HANDLED: dict[str, Handler] = {
    **dict.fromkeys(("chunk", "split", "split_with_sizes", "tensor_split"), parts),
    "__getitem__": item,
    **dict.fromkeys(("view", "reshape", "flatten", "unflatten", "unsqueeze", "view_as", "reshape_as"), reshaped),
    "squeeze": squeezed,
    "mean": mean,
    "repeat_interleave": repeated,
    "_pack_padded_sequence": packed,
    "_pad_packed_sequence": of_packed,
    **dict.fromkeys(("lstm", "gru", "rnn_tanh", "rnn_relu"), recurrent),
}
"""Names of functions of which a call becomes several nodes, or whose result tells the layer."""
