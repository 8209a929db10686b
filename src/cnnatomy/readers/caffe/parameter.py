"""Caffe's layer that reads nothing and makes a learned tensor."""

from __future__ import annotations

from cnnatomy.layers import Foreign
from cnnatomy.limits import MAX_AXES, MAX_LAYER_SIZE
from cnnatomy.readers.caffe.call import Blob, CaffeRule, LayerCall


def _parameter(call: LayerCall) -> Blob:
    options = call.param("parameter_param")
    shape = tuple(options.message("shape").integers("dim"))
    if not 1 <= len(shape) <= MAX_AXES or not all(1 <= n <= MAX_LAYER_SIZE for n in shape):
        options.fail(f"shape: expected 1 to {MAX_AXES} sizes from 1 to {MAX_LAYER_SIZE:,}, got {list(shape)}")
    beside = call.builder.graph.inputs[:1]  # which it does not read; but a node has an input
    if not beside:
        call.fail("a network has an input whose size is known")
    own = shape[1:] if shape[0] == 1 and len(shape) > 1 else shape  # with a first size of 1 it stands beside an image
    return Blob(call.add(Foreign(call.spec.kind, own, learned=(("weight", shape),)), beside))


RULES: dict[str, CaffeRule] = {"parameter": _parameter}
"""Type, in lower case and without underscores -> what adds its nodes and returns its outputs."""
