"""Measures this machine once: the kernels of `plan`, in mixed order, so that caches are as in a network."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

import torch
from torch import nn

from cnnatomy.analysis.time.kernels import work
from cnnatomy.analysis.time.latency import Calibration, Sample, machine, path
from cnnatomy.files import write_text, writing_to
from cnnatomy.layers import Dropout
from cnnatomy.layers.layer import elements
from cnnatomy.timing.measure import no_new_pages
from cnnatomy.timing.plan import Trial, plan

PASSES = 7
FEWEST, LONGEST = 3, 120
"""After so many passes it stops where it takes more than so many seconds: the machine is slow, or busy."""
SCRUB = 2**24
"""Bytes that drive what was there before out of a core's own caches."""


def calibrate(
    passes: int = PASSES,
    trials: Sequence[Trial] | None = None,
    step: Callable[[int, int], object] = lambda done, of: None,
) -> Calibration:
    """Times every trial once in each pass; `step` is told how many of all timings are done.

    Between two passes of a trial all others run, so that its weights come from memory as in a network. It is timed
    three times: after a twin with other weights, so that its code is warm; once more; and after the caches were filled
    with something else. Just before each its inputs are written, as the layer before does in a network. What new pages
    of memory cost is measured apart.
    """
    trials = plan() if trials is None else trials
    page = _page()
    # half zeros, as after a ReLU: a max pool's branches take time by what they find
    pool = torch.randn(max(map(_size, trials))).relu_()
    twins = [(_module(trial), _module(trial)) for trial in trials]
    scrub = torch.zeros(SCRUB // 4)
    seconds: list[tuple[list[float], ...]] = [([], [], []) for _ in trials]
    started = time.perf_counter()
    with torch.inference_mode(), no_new_pages():
        for number in range(passes):
            if number >= FEWEST and time.perf_counter() - started > LONGEST:
                break
            for i, (trial, (warm, timed)) in enumerate(zip(trials, twins, strict=True)):
                inputs = _views(pool, trial)
                pool_part = pool[: _size(trial)]
                kept = warm(*inputs)  # so that the other's output goes elsewhere
                for state, times in zip(("warm", "hot", "cold"), seconds[i], strict=True):
                    if state == "cold":
                        scrub.add_(1)
                    pool_part.mul_(1)
                    start = time.perf_counter()
                    output = timed(*inputs)
                    times.append(time.perf_counter() - start)
                    del output
                del kept
                step(number * len(trials) + i + 1, passes * len(trials))
    threads = torch.get_num_threads()
    samples = tuple(_sample(trial, times, threads) for trial, times in zip(trials, seconds, strict=True))
    noise = median(median(times) / min(times) - 1 for trial in seconds for times in trial)
    date = datetime.now(UTC).isoformat(timespec="seconds")
    return Calibration(machine(), threads, _glue(), page, date, noise, samples)


def _size(trial: Trial) -> int:
    return trial.batch * sum(map(elements, trial.inputs))


def _module(trial: Trial) -> nn.Module:
    return trial.layer.module(*trial.inputs).eval()


def _sample(trial: Trial, seconds: tuple[list[float], ...], threads: int) -> Sample:
    output = trial.layer.output_shape(*trial.inputs)
    warm, hot, cold = map(median, seconds)
    return Sample(work(trial.layer, trial.inputs, output, trial.batch, threads), hot, warm, cold)


def _views(pool: torch.Tensor, trial: Trial) -> list[torch.Tensor]:
    """The inputs of a trial, one after another in the pool."""
    views, start = [], 0
    for shape in trial.inputs:
        size = trial.batch * elements(shape)
        views.append(pool[start : start + size].view(trial.batch, *shape))
        start += size
    return views


def _glue(layers: int = 64, repetitions: int = 50) -> float:
    """Seconds between two layers: a chain of layers that do nothing, less what each takes by itself."""
    from cnnatomy.design import Chain
    from cnnatomy.design.build import build
    from cnnatomy.design.graph import Graph

    chain = build(Graph.trace(Chain(*(Dropout() for _ in range(layers))), (1, 1, 1))).eval()
    alone = Dropout().module((1, 1, 1)).eval()
    x = torch.zeros(1, 1, 1, 1)
    whole, each = [], []
    with torch.inference_mode():
        for _ in range(repetitions):
            start = time.perf_counter()
            chain(x)
            middle = time.perf_counter()
            for _ in range(layers):
                alone(x)
            each.append(time.perf_counter() - middle)
            whole.append(middle - start)
    return max((median(whole) - median(each)) / layers, 1e-9)


def _page(size: int = 2**26, repetitions: int = 15) -> float:
    """Seconds for each byte that the system provides again: what filling a new block takes, less the same once more."""
    new, again = [], []
    for _ in range(repetitions):
        block = torch.empty(size, dtype=torch.uint8)
        start = time.perf_counter()
        block.fill_(1)
        middle = time.perf_counter()
        block.fill_(2)
        again.append(time.perf_counter() - middle)
        new.append(middle - start)
        del block
    return max((median(new) - median(again)) / size, 1e-15)


def save(calibration: Calibration) -> Path:
    """Writes it to the user's cache, whole or not at all.

    Raises:
        UserError: if that cannot be written.
    """
    file = path(calibration.machine)
    with writing_to(file, "Choose a folder: set XDG_CACHE_HOME"):
        file.parent.mkdir(parents=True, exist_ok=True)
        write_text(file, json.dumps(calibration.record()) + "\n")
    return file
