"""What is said where training waited for data follows from files and machine."""

from __future__ import annotations

from dataclasses import replace

from cnnatomy.data import Frame, load
from cnnatomy.data.stores import OnDemand
from cnnatomy.report.waiting import advised, hints

GIB = 2**30
DATA = load("digits", (1, 8, 8), memory=0, workers=0)
assert isinstance(DATA.train.store, OnDemand)
SMALL = DATA.train.store
PHOTOGRAPHS = replace(SMALL, frame=Frame((3, 1024, 1024)), pixels=12e6, workers=2)
"""1,797 of 3 MiB each once decoded: 5.3 GiB."""


def test_nothing_is_said_up_to_a_tenth_or_of_images_in_memory() -> None:
    assert hints(0.1, DATA) == []
    assert hints(0.9, load("digits", (1, 8, 8))) == []
    assert hints(0.11, DATA)[0] == "11% of the time training waited until images were decoded:"


def test_memory_is_no_help_where_parts_are_cut_out_of_the_files() -> None:
    cut = replace(DATA, originals=SMALL)
    assert not any("--hold" in line for line in hints(0.5, cut, cut=True))
    assert any("--hold" in line for line in hints(0.5, cut))


def test_idle_processors_are_advised_where_there_are_some() -> None:
    assert advised(SMALL, 4, None) == ["no process decodes beside it: --workers 4"]
    assert advised(replace(PHOTOGRAPHS, pixels=0), 4, None) == ["2 of 4 processors decode: --workers 4"]
    assert "--workers" not in " ".join(advised(PHOTOGRAPHS, 2, None))


def test_memory_is_advised_where_half_of_it_holds_the_images() -> None:
    expected = "memory holds all images decoded, 5,391 MiB: --hold 6GiB"
    assert expected in advised(PHOTOGRAPHS, 2, 12 * GIB)
    assert expected not in advised(PHOTOGRAPHS, 2, 10 * GIB)


def test_smaller_copies_are_advised_where_files_are_much_larger_than_the_input() -> None:
    assert advised(PHOTOGRAPHS, 2, None) == [
        "images are stored with 12.0 million pixels, 11 times those of the input: make smaller copies of them once"
    ]
    assert advised(replace(PHOTOGRAPHS, pixels=1e6), 2, None) == [
        "2 processors decode, which is all there are: take a smaller --input, or more of them"
    ]
