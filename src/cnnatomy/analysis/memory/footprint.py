"""How much memory a network takes: at inference and in training, where the peak is, and what is alive then.

It replays what eager torch does, allocation by allocation, on sizes alone: no tensor, no torch. The workspace that a
convolution kernel takes for itself is not part of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from cnnatomy.analysis.memory.lifetimes import Tape
from cnnatomy.analysis.memory.replay import Replay
from cnnatomy.analysis.memory.setting import GRANULE, STATES, Setting
from cnnatomy.design.graph import Graph
from cnnatomy.layers.layer import elements
from cnnatomy.limits import MAX_BATCH


@dataclass(frozen=True)
class LiveMemory:
    """Something in memory: who made it (a path, or "input"), what it is, and its bytes."""

    path: str
    what: str
    bytes: int


@dataclass(frozen=True)
class Footprint:
    """The memory of a network in one setting; all sizes are bytes.

    Attributes:
        parameters, buffers, optimizer, input: what is there before the run. `optimizer` is its state.
        gradients: of all parameters, once the backward pass has made them; part of `peak`.
        saved: what the forward pass leaves for the backward pass, beside parameters and the input; part of `peak`.
        saved_by: the same, by the path of the layer that made it.
        peak: the most that the run holds at once beside what was there before.
        at: the path of the layer that runs then; `phase` is "forward", "backward" or "step".
        alive: what the peak is made of, the largest first.
    """

    setting: Setting
    training: bool
    parameters: int
    buffers: int
    optimizer: int
    input: int
    gradients: int
    saved: int
    saved_by: tuple[tuple[str, int], ...]
    peak: int
    at: str
    phase: str
    alive: tuple[LiveMemory, ...]

    @property
    def total(self) -> int:
        """The most that is held at once, all told."""
        return self.parameters + self.buffers + self.optimizer + self.input + self.peak

    @property
    def by_kind(self) -> dict[str, int]:
        """What the peak is made of, summed up by what it is."""
        sums: dict[str, int] = {}
        for piece in self.alive:
            sums[piece.what] = sums.get(piece.what, 0) + piece.bytes
        return sums


def inference(graph: Graph, setting: Setting = Setting()) -> Footprint:
    """The memory of one forward pass without autograd."""
    replay = Replay(graph, setting, training=False)
    replay.forward()
    return _footprint(graph, setting, replay, 0)


def training(graph: Graph, setting: Setting = Setting()) -> Footprint:
    """The memory of a training step that is not the first: forward, cross entropy, backward, step of the optimizer.

    Weights are float32; with a 16-bit type, the forward pass is computed in it by autocast.
    """
    replay = Replay(graph, setting, training=True)
    replay.forward()
    replay.backward()
    replay.step()
    return _footprint(graph, setting, replay, STATES[setting.optimizer])


def _footprint(graph: Graph, setting: Setting, replay: Replay, states: int) -> Footprint:
    tape: Tape = replay.tape
    size = setting.parameter_bytes(replay.training)
    tensors = list(_tensors(graph, "parameters"))
    buffers = list(_tensors(graph, "buffers"))
    phase, _, at = tape.peak_at.partition(" ")
    granule = GRANULE[setting.device]

    def held(shapes: list[tuple[int, ...]]) -> int:
        return sum(-(-elements(shape) * size // granule) * granule for shape in shapes)

    return Footprint(
        setting=setting,
        training=replay.training,
        parameters=held(tensors),
        buffers=held(buffers),
        optimizer=held(tensors) * states,
        input=sum(replay.bytes_of(x) for x in graph.inputs),
        gradients=held(tensors) if replay.training else 0,
        saved=sum(size for _, size in replay.saved_by),
        saved_by=tuple(replay.saved_by),
        peak=tape.peak,
        at=at,
        phase=phase,
        alive=tuple(LiveMemory(block.path, block.what, block.bytes) for block in tape.alive_at_peak()),
    )


def _tensors(graph: Graph, kind: str) -> Iterator[tuple[int, ...]]:
    """The shapes of the parameters or buffers, each once."""
    for node in graph.nodes:
        described = getattr(node.layer, kind)(*[x.shape for x in node.inputs])
        yield from (shape for name, shape in described.items() if name not in node.shared)


def largest_batch(footprint: Callable[[int], Footprint], limit: int) -> int:
    """The largest batch whose total is at most `limit` bytes; 0 where one image is too much already.

    A total grows nearly in proportion to the batch, so the next batch to try is where the line through two of them
    meets the limit; where the line misleads, the middle.
    """
    one = footprint(1)
    if one.total > limit:
        return 0
    fits, at, fails = 1, one.total, MAX_BATCH + 1
    slope = max(1, one.total - one.parameters - one.buffers - one.optimizer)
    turn = 0
    while fails - fits > 1:
        turn += 1
        guess = fits + (limit - at) // slope if turn % 4 else (fits + fails) // 2
        batch = min(max(guess, fits + 1), fails - 1)
        total = footprint(batch).total
        slope = max(1, (total - at) // (batch - fits))
        if total <= limit:
            fits, at = batch, total
        else:
            fails = batch
    return fits
