"""Which call of torch that resizes, pads or moves pixels is which layer of ours."""

from __future__ import annotations

from typing import Any

from torch.nn import functional as F

from cnnatomy import layers as ours
from cnnatomy.readers.torch.spec import CallRule, CallSpec, batched


def _pixel_shuffle(input: Any, upscale_factor: int) -> CallSpec | None:
    fmap = batched(input, 4)
    return CallSpec(ours.ChannelToSpace(upscale_factor), (fmap,), (), input) if fmap else None


def _pixel_unshuffle(input: Any, downscale_factor: int) -> CallSpec | None:
    fmap = batched(input, 4)
    return CallSpec(ours.SpaceToChannel(downscale_factor), (fmap,), (), input) if fmap else None


def _channel_shuffle(input: Any, groups: int) -> CallSpec | None:
    fmap = batched(input, 4)
    return CallSpec(ours.ChannelShuffle(groups), (fmap,), (), input) if fmap else None


def _interpolate(
    input: Any,
    size: Any = None,
    scale_factor: Any = None,
    mode: str = "nearest",
    align_corners: Any = None,
    **rest: Any,
) -> CallSpec | None:
    fmap = batched(input, 4)
    if fmap is None or mode not in ("nearest", "bilinear") or align_corners or any(rest.values()):
        return None
    rows, columns = fmap.shape[1:]
    if size is None:
        factors = scale_factor if isinstance(scale_factor, (tuple, list)) else (scale_factor, scale_factor)
        wanted = (int(rows * factors[0]), int(columns * factors[1]))
    else:
        wanted = (size, size) if isinstance(size, int) else tuple(size)
    if wanted[0] % rows or wanted[1] % columns:
        return None
    scale = (wanted[0] // rows, wanted[1] // columns)
    layer = ours.Interpolate(scale[0] if scale[0] == scale[1] else scale, mode)  # type: ignore[arg-type]
    return CallSpec(layer, (fmap,), (), input)


def _pad(input: Any, pad: Any, mode: str = "constant", value: Any = None) -> CallSpec | None:
    fmap = batched(input, 4)
    if fmap is None or mode != "constant" or value or not all(isinstance(n, int) for n in pad):
        return None
    sides = tuple(pad)
    if len(sides) == 6 and not any(sides[:5]) and sides[5] >= 0:
        return CallSpec(ours.PadChannels(fmap.shape[0] + sides[5]), (fmap,), (), input)
    left, right, top, bottom = sides if len(sides) == 4 else (*sides, 0, 0) if len(sides) == 2 else (0, 0, 0, -1)
    if max(sides) <= 0 and len(sides) == 4:
        return CallSpec(ours.Crop((-top, -bottom, -left, -right)), (fmap,), (), input)
    return CallSpec(ours.ZeroPad((top, bottom, left, right)), (fmap,), (), input) if min(sides) >= 0 else None


RULES: dict[Any, CallRule] = {
    "pixel_shuffle": _pixel_shuffle,
    "pixel_unshuffle": _pixel_unshuffle,
    **dict.fromkeys(("channel_shuffle", "native_channel_shuffle"), _channel_shuffle),
    F.interpolate: _interpolate,
    F.pad: _pad,
}
"""Function, or name of functions with one signature -> rule."""
