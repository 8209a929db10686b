"""Where decoded images come from: the same whoever decodes them, and workers that end when they should."""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import cnnatomy as cn
from cnnatomy.data import Data, load, stores
from cnnatomy.data.batches import Batches
from cnnatomy.data.stores import InMemory, OnDemand, is_held
from cnnatomy.design.heads import LinearHead
from cnnatomy.errors import UserError
from cnnatomy.layers import Conv, ReLU
from cnnatomy.training import Recipe, fit

SHAPE = (3, 8, 8)
GIB = 2**30


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of 20 images of random numbers."""
    root, random = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    for name in ("a", "b"):
        (root / name).mkdir()
        for index in range(20):
            pixels = random.integers(0, 256, (10, 12, 3), np.uint8)
            Image.fromarray(pixels).save(root / name / f"{index:02}.png")
    return root


@pytest.fixture(autouse=True)
def few_are_worth_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stores, "WORTH_WORKERS", 8)


def lazy(folder: Path, workers: int = 2) -> Data:
    return load(folder, SHAPE, memory=0, workers=workers)


def workers() -> set[int]:
    return {child.pid or 0 for child in multiprocessing.active_children()}


def epoch(batches: Batches, number: int = 0) -> list[tuple[torch.Tensor, torch.Tensor]]:
    batches.order.set_epoch(number)
    return [(images, target) for images, target in batches if isinstance(target, torch.Tensor)]


def same(some: list[tuple[torch.Tensor, torch.Tensor]], others: list[tuple[torch.Tensor, torch.Tensor]]) -> bool:
    pairs = zip(some, others, strict=True)
    return all(torch.equal(one, other) for pair in pairs for one, other in zip(*pair, strict=True))


@pytest.mark.parametrize("count", [0, 1, 3])
def test_batches_are_those_of_memory_whatever_the_number_of_workers(folder: Path, count: int) -> None:
    held, data = load(folder, SHAPE), lazy(folder, count)
    assert isinstance(held.train.store, InMemory)
    assert isinstance(data.train.store, OnDemand)
    kept, decoded = held.train.batches(5, 3), data.train.batches(5, 3)
    for number in range(3):
        assert same(epoch(decoded, number), epoch(kept, number))
    assert len(workers()) == count


def test_workers_live_through_the_epochs_and_end_when_they_are_told(folder: Path) -> None:
    data = lazy(folder)
    batches = data.train.batches(5, 3)
    epoch(batches)
    first = workers()
    epoch(batches, 1)
    assert workers() == first
    assert len(first) == 2
    data.close()
    assert not workers()
    assert len(epoch(batches, 2)) == len(batches)  # others begin
    assert not workers() & first


def test_workers_end_when_nobody_has_their_data(folder: Path) -> None:
    data = lazy(folder)
    epoch(data.train.batches(5, 3))
    assert workers()
    del data
    gc.collect()
    assert not workers()


def test_an_epoch_that_is_left_half_way_spoils_no_other(folder: Path) -> None:
    data = lazy(folder)
    batches, expected = data.train.batches(5, 3), load(folder, SHAPE).train.batches(5, 3)
    for _ in range(3):
        next(iter(batches))
        assert same(epoch(batches, 1), epoch(expected, 1))
    assert len(workers()) == 2


def test_two_sequences_at_once_do_not_meet(folder: Path) -> None:
    data = lazy(folder)
    batches, expected = data.train.batches(5, 3), load(folder, SHAPE).train.batches(5, 3)
    both = list(zip(data.train.batches(5, 3), epoch(batches), strict=True))
    assert same([one for one, _ in both if isinstance(one[1], torch.Tensor)], epoch(expected))  # type: ignore[misc]
    assert same([other for _, other in both], epoch(expected))


def test_a_worker_that_dies_is_one_message(folder: Path) -> None:
    data = lazy(folder, workers=1)
    batches = iter(data.train.batches(2, 3))
    next(batches)
    (worker,) = workers()

    def go_on() -> None:
        with stores.watched():  # torch tells of it wherever this process is then
            os.kill(worker, signal.SIGKILL)
            time.sleep(1)
            list(batches)

    with pytest.raises(UserError, match=r"decodes images has ended \(killed: killed\).* fewer --workers") as raised:
        go_on()
    assert "\n" not in str(raised.value)
    data.close()
    assert not workers()


def test_training_leaves_no_process(folder: Path) -> None:
    network = cn.Network(tail=Conv(4, 3), body=ReLU(), head=LinearHead(2), input=SHAPE)
    fit(network, lazy(folder), Recipe(epochs=2, batch_size=4))
    assert not workers()


@pytest.mark.slow
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGKILL])
def test_no_process_outlives_a_training_that_is_interrupted(folder: Path, sent: signal.Signals) -> None:
    program = f"""
        import multiprocessing, sys
        from cnnatomy.data import load, stores

        stores.WORTH_WORKERS = 0
        batches = load({str(folder)!r}, {SHAPE}, memory=0, workers=2).train.batches(2, 3)
        print(0, flush=True)
        told = False
        try:
            while True:
                for images, labels in batches:
                    if not told:  # once: a pipe that is full, and read by nobody, would keep it from ending
                        print(*(child.pid for child in multiprocessing.active_children()), flush=True)
                    told = True
        except KeyboardInterrupt:
            sys.exit(130)
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # ignored where tests run in the background
    ) as running:
        assert running.stdout is not None
        assert running.stderr is not None
        running.stdout.readline()
        children = [int(pid) for pid in running.stdout.readline().split()]
        assert len(children) == 2
        if sent is signal.SIGINT:  # as a terminal does: all processes get it
            os.killpg(running.pid, sent)
        else:
            running.kill()
        try:
            assert running.wait(30) == (130 if sent is signal.SIGINT else -signal.SIGKILL)
        finally:
            running.kill()
        assert sent is signal.SIGKILL or running.stderr.read() == ""
    for _ in range(150):  # workers look every five seconds whether there is still a process to decode for
        if not any(Path(f"/proc/{pid}/stat").exists() for pid in children):
            return
        time.sleep(0.1)
    raise AssertionError("a worker is left")


def test_a_quarter_of_what_training_leaves_of_a_device_may_hold_images() -> None:
    assert is_held(2 * GIB, 8 * GIB)
    assert not is_held(2 * GIB + 1, 8 * GIB)
    assert not is_held(1, -GIB)


def test_images_in_memory_go_to_the_device_with_their_maps_where_it_has_room() -> None:
    store = InMemory(torch.zeros(4, *SHAPE, dtype=torch.uint8), torch.zeros(4, *SHAPE[1:], dtype=torch.uint8))
    size = 4 * 3 * 64 + 4 * 64
    meta = torch.device("meta")  # a device without memory, as far as torch is concerned
    assert store.on(torch.device("cpu"), 100 * size) is store
    assert store.on(meta, 4 * size - 1) is store
    moved = store.on(meta, 4 * size)
    assert moved.maps is not None
    assert moved.images.device == moved.maps.device == meta
    (batch,) = moved.batches([stores.Draw(torch.arange(2), torch.arange(2))])
    assert batch.images.device == meta
    assert batch.images.shape == (2, *SHAPE)
