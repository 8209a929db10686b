"""Caffe's layers that combine channels or features: inner products, normalisation, reductions, the largest."""

from __future__ import annotations

from cnnatomy.errors import UserError, quoted
from cnnatomy.layers import ArgMax, BatchNorm, Bias, Flatten, FullyConnected, LocalResponseNorm, Reshape, Scale
from cnnatomy.layers.layer import CHANNEL, CHANNEL_AND_SPACE, SPACE, TRAINING, Operations, Window, dimensions
from cnnatomy.readers.caffe.call import Blob, CaffeRule, LayerCall, outputs, total


def _inner_product(call: LayerCall) -> Blob:
    """All axes from `axis` on are one vector, of each place along the axes before it."""
    options, x = call.param("inner_product_param"), call.x
    axis = options.integer("axis", 1)
    layer = FullyConnected(outputs(options), options.flag("bias_term", True))
    kept = x.axis(axis)
    if kept < 0:
        if x.many or x.images > 1 or axis % len(x.shape) != x.batch:
            call.fail(f"axis: {axis} makes one vector of several images, regions or steps")
        kept = 0
    before, rest = x.item[:kept], total(x.item[kept:])
    if len(x.item) == kept + 1 and kept < 2:
        return call.put(layer)
    if not kept:
        return call.put(layer, call.put(Flatten(), part="flatten"))
    flat = call.put(Reshape((total(before), rest)), part="flatten")
    made = call.put(layer, flat)
    return made if kept < 2 else call.put(Reshape((*before, layer.features)), made, part="reshape")


def _lrn(call: LayerCall) -> Blob:
    options = call.param("lrn_param")
    region, size = options.word("norm_region", "ACROSS_CHANNELS").upper(), options.integer("local_size", 5)
    alpha, beta, k = (options.number(*default) for default in (("alpha", 1.0), ("beta", 0.75), ("k", 1.0)))
    layer = LocalResponseNorm(size, alpha, beta, k)
    if region in ("ACROSS_CHANNELS", "0"):
        return call.put(layer)
    if region not in ("WITHIN_CHANNEL", "1"):
        options.fail(f"norm_region: expected ACROSS_CHANNELS or WITHIN_CHANNEL, got {quoted(region)}")
    if size % 2 == 0:
        options.fail(f"local_size: expected an odd number, got {size}")
    n = total(layer.output_shape(call.x.item))
    # as across channels, over a square of pixels
    costs = Operations(multiply=n * (size**2 + 1), add=n * (size**2 + 1), divide=n, exponential=n)
    return call.foreign(costs, mixes=SPACE, sees=Window((size, size), padding=(size // 2, size // 2)))


def _mvn(call: LayerCall) -> Blob:
    """Minus the mean, divided by the deviation, of each channel or of all; counted as `GroupNorm` without a scale."""
    options, n = call.param("mvn_param"), total(call.x.item)
    across = options.flag("across_channels", False)
    groups = 1 if across else call.x.channels
    costs = Operations(add=2 * n, divide=groups)
    if options.flag("normalize_variance", True):
        costs = Operations(multiply=n, add=3 * n + groups, divide=n + 2 * groups, exponential=groups)
    return call.foreign(costs, mixes=CHANNEL_AND_SPACE if across else SPACE)


def _normalize(call: LayerCall) -> Blob:
    """SSD's: divided by the length of the vector of channels at each pixel, or of all, times a learned scale."""
    options, item = call.param("norm_param"), call.x.item
    across = options.flag("across_spatial", True)
    n, vectors = total(item), 1 if across else total(item[1:])
    costs = Operations(multiply=2 * n, add=n + vectors, divide=n, exponential=vectors)
    scale = (1 if options.flag("channel_shared", True) else call.x.channels,)
    return call.foreign(costs, mixes=CHANNEL_AND_SPACE if across else CHANNEL, learned=(("weight", scale),))


def _batch_norm(call: LayerCall) -> Blob:
    return _normalised(call, call.param("batch_norm_param").number("eps", 1e-5), call.spec.scale is not None)


def _whole_batch_norm(call: LayerCall) -> Blob:
    """SegNet's and PSPNet's, with scale and bias; SegNet's for inference has no statistics: they are in the scale."""
    options = call.param("bn_param")
    if options.word("bn_mode", "LEARN").upper() in ("INFERENCE", "1"):
        return call.put(Bias(), call.put(Scale()), part="shift")
    return _normalised(call, options.number("eps", 1e-5), True)


def _normalised(call: LayerCall, epsilon: float, affine: bool) -> Blob:
    """A batch norm of vectors and maps; of what has other axes it costs the same, folded into one product and sum."""
    if len(call.x.item) in (1, 3):
        return call.put(BatchNorm(epsilon=epsilon, affine=affine))
    n, channels = total(call.x.item), (call.x.channels,)
    learned = (("weight", channels), ("bias", channels)) if affine else ()
    stored = (("running_mean", channels), ("running_var", channels))
    return call.foreign(Operations(multiply=n, add=n), mixes=TRAINING, learned=learned, stored=stored)


def _argmax(call: LayerCall) -> Blob:
    """The places of the k largest, each found among the k so far by halving; of all elements where no axis is given."""
    options, item = call.param("argmax_param"), call.x.item
    top, pairs = options.integer("top_k", 1), options.flag("out_max_val", False)
    if top < 1:
        options.fail(f"top_k: expected a positive number, got {top}")
    costs = Operations(compare=total(item) * top.bit_length())
    if not options.has("axis"):
        if top > total(item):
            options.fail(f"top_k: {top} of {total(item)} elements")
        return call.foreign(costs, (1 + pairs, top), CHANNEL_AND_SPACE)
    axis = call.x.axis(options.integer("axis", 0))
    if axis < 0:
        call.fail("the largest image of a batch is not read: each of them is independent here")
    if top > item[axis]:
        options.fail(f"top_k: {top} of the {item[axis]} elements along its axis")
    if axis == 0 and top == 1 and not pairs:
        return call.put(ArgMax())
    return call.foreign(costs, (*item[:axis], top, *item[axis + 1 :]), CHANNEL if not axis else SPACE)


REDUCTIONS = {
    "SUM": Operations(add=1),
    "ASUM": Operations(add=1, compare=1),
    "SUMSQ": Operations(add=1, multiply=1),
    "MEAN": Operations(add=1),
}


def _reduction(call: LayerCall) -> Blob:
    """One number for all axes from `axis` on."""
    options, x = call.param("reduction_param"), call.x
    given = options.word("operation", "SUM").upper()
    name = {"1": "SUM", "2": "ASUM", "3": "SUMSQ", "4": "MEAN"}.get(given, given)
    if name not in REDUCTIONS:
        options.fail(f"operation: expected {', '.join(REDUCTIONS)}, got {quoted(given)}")
    axis = x.axis(options.integer("axis", 0))
    if axis < 0 and x.leads:
        call.fail(f"the axes of {dimensions(x.shape)} that count things cannot be summed up")
    shape = x.item[: max(0, axis)]
    made, read = total(shape), total(x.item)
    per = [read * n for n in REDUCTIONS[name]]
    costs = Operations(*per)._replace(
        divide=made * (name == "MEAN"), multiply=per[1] + made * (options.number("coeff", 1.0) != 1)
    )
    return call.foreign(costs, shape or (1,), CHANNEL_AND_SPACE if axis < 1 else SPACE)


def _keeps(call: LayerCall) -> Blob:
    """A layer that gives a map of the same shape, at a cost that depends on the image."""
    if not call.x.item:
        raise UserError("it needs a map")
    return call.not_counted(None, *call.blobs[:1])


RULES: dict[str, CaffeRule] = {
    "innerproduct": _inner_product,
    "lrn": _lrn,
    "mvn": _mvn,
    "normalize": _normalize,
    "batchnorm": _batch_norm,
    "bn": _whole_batch_norm,
    "argmax": _argmax,
    "reduction": _reduction,
    "densecrf": _keeps,
}
"""Type, in lower case and without underscores -> what adds its nodes and returns its outputs."""
