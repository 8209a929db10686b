from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cnnatomy.data import Frame, Split, load
from cnnatomy.data.batches import Order
from cnnatomy.data.image_set import TEST, TRAIN, Decode, Fetched, ImageSet
from cnnatomy.data.images import ImageError, Stored
from cnnatomy.data.ordering import within_window
from cnnatomy.data.stores import Draw, InMemory
from cnnatomy.data.streaming import FromStream, Streamed
from cnnatomy.data.truth import Classes
from cnnatomy.errors import UserError


@dataclass
class Counting:
    """A stream of images of one pixel value each; it counts what is decoded and what is passed over."""

    count: int
    decoded: list[int] = field(default_factory=list)
    passed: list[int] = field(default_factory=list)
    broken: set[int] = field(default_factory=set)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, first: int = 0) -> Iterator[Decode]:
        for number in range(first, self.count):
            self.passed.append(number)
            yield partial(self.decode, number)

    def decode(self, number: int, frame: Frame) -> Fetched:
        if number in self.broken:
            raise ImageError("broken")
        with self.lock:
            self.decoded.append(number)
        random = np.random.default_rng(number)
        return Fetched(random.integers(0, 256, frame.shape).astype(np.uint8), Stored((8, 8)))


def streamed(stream: Counting) -> ImageSet:
    return ImageSet(
        source="stream",
        truth=Classes(("even", "odd"), np.arange(stream.count) % 2),
        splits=np.where(np.arange(stream.count) % 5 == 4, TEST, TRAIN).astype(np.int8),
        has=frozenset({TRAIN, TEST}),
        fetch=FromStream(stream),
        names=tuple(map(str, range(stream.count))),
        files=True,
        stream=stream,
    )


FRAME = Frame((1, 8, 8))


def value(number: int) -> torch.Tensor:
    return torch.from_numpy(Counting(number + 1).decode(number, FRAME).pixels)


@given(st.integers(0, 60), st.integers(1, 70), st.integers(0, 2**31))
def test_an_order_within_a_window_is_a_permutation_and_no_number_comes_before_it_can(
    count: int, window: int, seed: int
) -> None:
    order = within_window(count, window, torch.Generator().manual_seed(seed)).tolist()
    assert sorted(order) == list(range(count))
    assert all(number < place + window for place, number in enumerate(order))


def test_a_window_over_everything_draws_every_permutation_equally_often() -> None:
    generator = torch.Generator().manual_seed(0)
    drawn = [tuple(within_window(3, 3, generator).tolist()) for _ in range(6000)]
    counts = [drawn.count(order) for order in itertools.permutations(range(3))]
    assert min(counts) > 900  # 1,000 expected, deviation 29


def test_epochs_of_a_window_differ_and_each_can_be_repeated() -> None:
    def epoch(number: int, first: int = 0) -> list[int]:
        order = Order(torch.arange(100), 10, seed=1, window=20)
        order.set_epoch(number, first)
        return torch.cat([draw.indices for draw in order.batches()]).tolist()

    assert epoch(0) == epoch(0) != epoch(1)
    assert epoch(0, first=4) == epoch(0)[40:]
    assert sorted(epoch(3)) == list(range(100))


@pytest.mark.parametrize("buffer", [1, 2, 7, 40, 300])
def test_no_more_decoded_images_are_held_than_the_buffer_has_places(buffer: int) -> None:
    stream = Counting(200)
    store = Streamed(streamed(stream), FRAME, buffer)
    indices = torch.arange(0, 200, 2)
    batches = Split(store, indices, torch.arange(200)).batches(8, seed=3)
    seen, most = 0, 0
    for images, target in batches:
        assert all(torch.equal(image, value(int(number))) for image, number in zip(images, target, strict=True))
        most = max(most, len(stream.decoded) - seen)
        seen += len(images)
    assert seen == len(stream.decoded) == 100  # each once, and none that is not of the split
    assert most <= max(buffer, 1) + 8  # those of the batch are being given out


def test_a_resumed_epoch_decodes_only_what_is_left_of_it() -> None:
    def batches(first: int, stream: Counting) -> list[torch.Tensor]:
        found = Split(Streamed(streamed(stream), FRAME, 40), torch.arange(200), torch.arange(200)).batches(10, seed=3)
        found.order.set_epoch(2, first)
        return [images for images, _ in found]

    whole, rest = batches(0, Counting(200)), batches(12, left := Counting(200))
    assert all(torch.equal(*pair) for pair in zip(whole[12:], rest, strict=True))
    assert len(left.decoded) == 80
    assert left.passed[0] > 0  # what lies before is not even passed over


def test_a_stream_is_read_from_the_first_image_that_is_needed_to_the_last() -> None:
    stream = Counting(200)
    store = Streamed(streamed(stream), FRAME, 16)
    assert len(list(Split(store, torch.arange(50, 80), torch.arange(200)).batches(8))) == 4
    assert stream.passed == list(range(50, 80))


def test_who_looks_at_one_batch_waits_for_no_others() -> None:
    stream = Counting(3000)
    batches = iter(Split(Streamed(streamed(stream), FRAME, 3000), torch.arange(3000), torch.arange(3000)).batches(4))
    next(batches)
    batches.close()
    before = len(stream.decoded)
    time.sleep(0.1)
    assert len(stream.decoded) <= before + 40  # those that threads were at


def test_an_image_that_is_drawn_several_times_is_decoded_once() -> None:
    stream = Counting(60)
    weights = torch.where(torch.arange(60) < 3, 30.0, 0.2)
    store = Streamed(streamed(stream), FRAME, 8)
    batches = Split(store, torch.arange(60), torch.arange(60)).batches(5, seed=0, weights=weights)
    targets = torch.cat([target for _, target in batches])
    assert len(targets) == 60 > len(set(targets.tolist()))
    assert sorted(stream.decoded) == sorted(set(targets.tolist()))


def test_images_are_asked_for_in_any_order_with_as_many_held() -> None:
    store = Streamed(streamed(Counting(50)), FRAME, 2)
    (found,) = store.batches([Draw(torch.tensor([40, 3, 3, 17]))])
    assert torch.equal(found.images, torch.stack([value(number) for number in (40, 3, 3, 17)]))


def test_a_stream_that_fits_into_memory_is_kept_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cnnatomy.data.survey.BUFFER", 64 * 20)
    data = load(streamed(Counting(100)), (1, 8, 8))
    assert isinstance(data.train.store, InMemory)
    small = load(streamed(Counting(100)), (1, 8, 8), memory=64 * 20)
    assert isinstance(small.train.store, Streamed)
    assert small.train.store.buffer == 20
    assert small.fingerprint == data.fingerprint
    assert small.normalisation == data.normalisation
    for mine, other in zip(small.test.batches(7), data.test.batches(7), strict=True):
        assert torch.equal(mine[0], other[0])


def test_a_single_image_is_fetched_from_its_place() -> None:
    images = streamed(stream := Counting(30))
    assert torch.equal(torch.from_numpy(images.fetch(7, FRAME).pixels), value(7))
    assert stream.decoded == [7]


def test_a_stream_that_has_become_shorter_or_broken_is_named() -> None:
    images = streamed(Counting(30))
    order = [Draw(torch.arange(30))]
    with pytest.raises(UserError, match="stream has fewer images than at the start: 30 were expected"):
        list(Streamed(replace(images, stream=Counting(20)), FRAME, 8).batches(order))
    with pytest.raises(UserError, match="12 could be read at the start, but no more: broken"):
        list(Streamed(replace(images, stream=Counting(30, broken={12})), FRAME, 8).batches(order))
