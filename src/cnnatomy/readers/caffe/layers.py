"""Caffe's layer types as layers of ours: a rule for each, in one table. https://caffe.berkeleyvision.org/tutorial/layers

All types of BVLC's Caffe, and those that public models bring along. A type that is not here is refused where it stands.
"""

from __future__ import annotations

from cnnatomy.readers.caffe import channel, element, moves, parameter, recurrent, regions, volumes, windows
from cnnatomy.readers.caffe.call import CaffeRule

RULES: dict[str, CaffeRule] = {
    **windows.RULES,
    **volumes.RULES,
    **channel.RULES,
    **element.RULES,
    **moves.RULES,
    **recurrent.RULES,
    **regions.RULES,
    **parameter.RULES,
}
"""Type, in lower case and without underscores -> what adds its nodes and returns its outputs."""

WATCHES = {
    "accuracy",
    "segaccuracy",
    "silence",
    "hdf5output",
    "detectionevaluate",
    "evaldetection",
}
"""Types that compute nothing of the network and are left out; so are losses, but for the softmax of a softmax loss."""
