"""Waiting for data: seconds in which nothing is computed, by the clock of what computes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import cnnatomy as cn
from cnnatomy.data import load
from cnnatomy.data.stores import InMemory
from cnnatomy.files import read_text
from cnnatomy.training import Recipe, fit
from cnnatomy.training.waiting import Waiting


def test_what_is_asked_for_is_waited_for_and_what_is_computed_is_not() -> None:
    def batches() -> Iterator[int]:
        for number in range(3):
            time.sleep(0.05)
            yield number

    waiting, seen = Waiting(torch.device("cpu")), []
    for number in waiting.over(batches()):
        seen.append(number)
        time.sleep(0.1)
    assert seen == [0, 1, 2]
    assert 0.15 <= waiting.seconds < 0.28


def test_a_gpu_waits_by_its_own_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 2.0, 10.0, 10.0, 20.0])  # milliseconds: idle until 2, then busy until after the second batch

    class Stamp:
        def __init__(self, enable_timing: bool) -> None:
            assert enable_timing

        def record(self) -> None:
            self.at = next(clock)

        def elapsed_time(self, other: Stamp) -> float:
            return other.at - self.at

    monkeypatch.setattr(torch.cuda, "Event", Stamp)
    waiting = Waiting(torch.device("cuda"))
    assert list(waiting.over([1, 2])) == [1, 2]
    assert waiting.seconds == pytest.approx(0.002)


def test_a_run_keeps_how_long_each_epoch_waited(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    given = InMemory.batches

    def slowly(store: InMemory, order: list[object]) -> Iterator[object]:
        for batch in given(store, order):  # type: ignore[arg-type]
            time.sleep(0.02)
            yield batch

    monkeypatch.setattr(InMemory, "batches", slowly)
    network = cn.network("lenet-5", classes=10, input=(1, 32, 32))
    trained = fit(network, load("digits", (1, 32, 32)), Recipe(epochs=2, batch_size=420), tmp_path / "run")
    assert trained.outcome is not None
    assert all(0.08 <= row.waiting < row.seconds for row in trained.outcome.epochs)  # three batches, and validation
    waited, seconds = (sum(getattr(row, name) for row in trained.outcome.epochs) for name in ("waiting", "seconds"))
    assert trained.outcome.summary["training"]["waiting"] == waited / seconds
    assert read_text(tmp_path / "run" / "metrics.csv", 10**6, "it").splitlines()[0].endswith(",seconds,waiting")
