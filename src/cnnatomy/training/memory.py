"""Whether a step of a training fits into this machine's memory, before anything is allocated."""

from __future__ import annotations

import torch

from cnnatomy import machine
from cnnatomy.analysis import memory
from cnnatomy.design.network import Design
from cnnatomy.errors import UserError
from cnnatomy.layers.layer import Shape


def check_step(design: Design, shape: Shape, batch: int, device: torch.device) -> None:
    """Raises `UserError` where a step with `batch` images needs more memory than the device has.

    The message names the layer at which most is needed, what that is, what there is, and how large a batch may be.
    """
    there = machine.memory() if device.type == "cpu" else torch.cuda.get_device_properties(device).total_memory
    if there is None:
        return
    graph = design.graph(shape)

    def needed(images: int) -> memory.Footprint:
        return memory.training(graph, memory.Setting(images, device=device.type))

    step = needed(batch)
    if step.total <= there:
        return
    one, two = needed(1).total, needed(2).total
    fits = (there - one) // max(two - one, 1) + 1 if one <= there else 0
    remedy = f"batches of about {fits:,} fit" if fits else "choose a smaller input or a smaller network"
    raise UserError(
        f"a training step of {design.name or 'the network'} with {batch:,} images of {'x'.join(map(str, shape))} needs"
        f" {step.total / 2**30:,.1f} GiB, most at {step.at} ({step.phase}), and there are {there / 2**30:,.1f} GiB:"
        f" {remedy}"
    )
