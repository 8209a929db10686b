"""The rule about coarse maps that are enlarged to the size of the image."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from cnnatomy.critique.rule import Case, rule
from cnnatomy.critique.study import Study, pixels
from cnnatomy.design.graph import FeatureMap
from cnnatomy.edits.change import Remedy
from cnnatomy.layers.layer import GLOBAL, dimensions

COARSE, TOO_COARSE = 32, 64
"""Input pixels to a position of a map that is enlarged at once: what FCN-32s has, and what nobody has."""

LEAP = 16
"""Times a side that no decoder enlarges in one step."""

STEP = 4
"""Times a side that a map may be enlarged before layers go on with it, to be called a step of a decoder."""

FINE = 8
"""Input pixels to a position from which outlines can be drawn: what FCN-8s and DeepLab end with."""


@rule("S5", "enlarged-at-once", "warning", "Long et al. 2015, 'Fully Convolutional Networks', section 4.2 and table 2")
def enlarged_at_once(study: Study) -> Iterator[Case]:
    """A coarse map that is enlarged to the size of the image at once, with nothing of finer maps.

    What the last map says of a position it says of a square of as many pixels as its stride: outlines finer than that,
    and objects smaller, cannot come out, however the map is enlarged. FCN-32s has a mean IU of 59.4, with a skip from
    stride 16 it has 62.4, from stride 8 62.7. DeepLab dilates in place of the last strides. A warning from a stride
    of 64; a note from 32, which is what fast networks for large images have. Layers between do not help a map of
    stride 64 that is then enlarged 16 times or more in one step: a warning too. Maps that are enlarged step by step, by
    4 a side at most with layers between, that finer maps join, or that stay coarse as those of detectors do, are left
    out.
    """
    fields, spine = study.account.fields, study.spine
    if pixels(study.output.shape) == 1 or len(study.account.input) != 3:
        return
    coarse: FeatureMap | None = None  # what is enlarged, since the last layer that reads several pixels
    coarsest: FeatureMap | None = None  # what was enlarged first, since a finer map joined
    step = 1  # by which it was enlarged since then
    for before, after in pairwise(spine):
        node = after.node
        window = node.layer.window(*[x.shape for x in node.inputs]) if node else None
        if node is None or node.inputs != (before,) or window is GLOBAL:
            coarse = coarsest = None
        elif window is not None and max(window.upsample) > 1:
            coarse, coarsest = coarse or before, coarsest or before
            step = max(step, after.shape[1] // before.shape[1])
            times = min(m // n for m, n in zip(after.shape[1:], coarse.shape[1:], strict=True))
            for first, least, leap in ((coarse, COARSE, COARSE), (coarsest, TOO_COARSE, LEAP)):
                stride = min(fields[first].stride)
                if stride >= least and times >= leap and pixels(first.shape) > 1:
                    yield _case(study, first, after, int(stride), times, step)
                    return
        elif window is not None and max(window.kernel) > 1 and step <= STEP:
            coarse, step = None, 1


def _case(study: Study, coarse: FeatureMap, after: FeatureMap, stride: int, times: int, step: int) -> Case:
    before = study.spine[: study.spine.index(coarse)]
    finer = [x.node for x in before if x.node and study.account.fields[x].stride == (FINE, FINE)]
    joined = (
        f"{finer[-1].path}, of {dimensions(finer[-1].output.shape[1:])}" if finer else f"one of stride {FINE} or 16"
    )
    steps = min(m // n for m, n in zip(after.shape[1:], coarse.shape[1:], strict=True)) // times
    return Case(
        where=(after.node.path if after.node else "input",),
        text=f"a map of {dimensions(coarse.shape[1:])}, a position to {stride}x{stride} pixels, is enlarged "
        + (f"{steps} times in steps and then " if steps > 1 else "")
        + f"{times} times {'at once' if step == times else f'by steps of up to {step}'}, and no finer map joins it",
        evidence={"stride": stride, "times": times},
        remedy=(
            Remedy(f"enlarge in steps, and let a finer map join by a skip: {joined}, through a 1x1 convolution"),
            Remedy(f"dilate in place of the last strides, down to a stride of {FINE} or 16, which takes more MACs"),
        ),
        severity="warning" if max(stride, times) >= TOO_COARSE else "note",
    )
