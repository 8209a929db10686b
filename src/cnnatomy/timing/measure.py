"""How long a network takes on this machine: as a whole, and layer by layer through hooks."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import quantiles
from typing import Any, NamedTuple

import torch
from torch import nn

from cnnatomy.analysis.memory.pages import MAX_KEPT, MAX_KEPT_PIECE
from cnnatomy.design.graph import Graph
from cnnatomy.errors import UserError
from cnnatomy.layers.layer import elements
from cnnatomy.machine import choose_device

WARM_UP = 3
"""Passes before the clock counts: caches, oneDNN's kernels and the allocator settle."""


M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_MMAP_MAX = -1, -3, -4
"""Options of glibc's mallopt(3)."""


class Spread(NamedTuple):
    """Seconds: the median of the repetitions, the quartiles around it, and the fastest."""

    median: float
    lower: float
    upper: float
    fastest: float

    @classmethod
    def of(cls, seconds: Sequence[float]) -> Spread:
        """The spread of one or more repetitions."""
        if len(seconds) == 1:
            return cls(seconds[0], seconds[0], seconds[0], seconds[0])
        lower, median, upper = quantiles(seconds, n=4, method="inclusive")
        return cls(median, lower, upper, min(seconds))


@dataclass(frozen=True)
class Measured:
    """A network, timed.

    Attributes:
        whole: of a forward pass of the batch.
        layers: by path, with a hook before and after each, in other passes than the whole was timed in.
        batch, repetitions, threads, device: how it was measured.
    """

    whole: Spread
    layers: dict[str, Spread]
    batch: int
    repetitions: int
    threads: int
    device: str


def measure(graph: Graph, batch: int = 1, repetitions: int = 20, device: str = "cpu") -> Measured:
    """Times the network that a graph builds, in evaluation, float32, eager; random weights and images.

    Raises:
        UserError: if there is no such device, the network cannot be built, or its batch does not fit the memory.
    """
    choose_device(device)
    module = _built(graph).to(device)
    inputs = _inputs(graph, batch, device)
    settle_allocator()
    with torch.inference_mode():
        for _ in range(WARM_UP):
            module(*inputs)
        whole = [_timed(lambda: module(*inputs), device) for _ in range(repetitions)]
        with _hooked(module, {node.path for node in graph.nodes}, device) as seconds:
            for _ in range(repetitions):
                module(*inputs)
    layers = {path: Spread.of(times) for path, times in seconds.items() if times}
    return Measured(Spread.of(whole), layers, batch, repetitions, torch.get_num_threads(), device)


def settle_allocator() -> None:
    """Lets glibc keep freed blocks up to 32 MiB from now on, as it does in a process that has served a while.

    Its threshold follows the largest block that was freed (mallopt(3), M_MMAP_THRESHOLD); before that, every large map
    would be fetched from the system page by page, in the first passes or in all, as it happens.
    """
    torch.empty(MAX_KEPT_PIECE, dtype=torch.uint8)


@contextmanager
def no_new_pages() -> Iterator[None]:
    """Meanwhile glibc keeps all freed memory, so that no kernel waits for pages; afterwards it is settled as above.

    Other systems are left alone.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        yield
        return
    mallopt(M_MMAP_MAX, 0)
    mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
    try:
        yield
    finally:
        mallopt(M_MMAP_MAX, 2**16)
        mallopt(M_MMAP_THRESHOLD, MAX_KEPT_PIECE)
        mallopt(M_TRIM_THRESHOLD, MAX_KEPT)


def _built(graph: Graph) -> nn.Module:
    from cnnatomy.design.build import build

    return build(graph).eval()


def _inputs(graph: Graph, batch: int, device: str) -> list[torch.Tensor]:
    largest = max(elements(x.shape) for x in (*graph.inputs, *(node.output for node in graph.nodes)))
    try:
        torch.empty(2 * batch * largest)  # untouched: no memory is used, but the system says whether it would give it
        return [torch.rand(batch, *x.shape, device=device) for x in graph.inputs]
    except (RuntimeError, MemoryError):
        raise UserError(f"a batch of {batch:,} does not fit the memory of this machine; take a smaller one") from None


def _timed(call: Callable[[], Any], device: str) -> float:
    _wait(device)
    start = time.perf_counter()
    call()
    _wait(device)
    return time.perf_counter() - start


def _wait(device: str) -> None:
    if device != "cpu":
        torch.cuda.synchronize()


@contextmanager
def _hooked(module: nn.Module, paths: set[str], device: str) -> Iterator[dict[str, list[float]]]:
    """Seconds of each layer, filled in while the block runs; the hooks are gone afterwards."""
    seconds: dict[str, list[float]] = {path: [] for path in paths}
    started: dict[str, float] = {}

    def before(path: str) -> Callable[..., None]:
        def hook(*_: Any) -> None:
            _wait(device)
            started[path] = time.perf_counter()

        return hook

    def after(path: str) -> Callable[..., None]:
        def hook(*_: Any) -> None:
            _wait(device)
            seconds[path].append(time.perf_counter() - started[path])

        return hook

    handles = []
    for path, part in module.named_modules():
        if path in paths:
            handles += [part.register_forward_pre_hook(before(path)), part.register_forward_hook(after(path))]
    try:
        yield seconds
    finally:
        for handle in handles:
            handle.remove()
