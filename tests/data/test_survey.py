"""One pass over all images: what it measures of many at once is what each has."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from cnnatomy.data import Frame, open_source
from cnnatomy.data import survey as module
from cnnatomy.data.frames import Pixels
from cnnatomy.data.survey import measured, survey, thumbnails_of


@given(
    arrays.arrays(
        np.uint8, st.tuples(st.integers(1, 4), st.sampled_from((1, 3)), st.integers(1, 70), st.integers(1, 70))
    )
)
def test_sums_are_exact_and_digests_are_of_the_bytes(images: Pixels) -> None:
    found = measured(images)
    values = images.astype(object)
    assert (found.sums == values.sum((2, 3))).all()
    assert (found.squares == (values**2).sum((2, 3))).all()
    assert found.digests == [hashlib.blake2b(image.tobytes(), digest_size=16).digest() for image in images]


def test_a_thumbnail_does_not_depend_on_what_is_measured_with_it() -> None:
    images = np.random.default_rng(0).integers(0, 256, (5, 3, 37, 90), np.uint8)
    together = thumbnails_of(images)
    assert all((thumbnails_of(images[i : i + 1])[0] == together[i]).all() for i in range(5))


def test_it_does_not_matter_how_many_are_read_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for index in range(9):
            Image.fromarray(random.integers(0, 256, (9, 8, 3), np.uint8)).save(tmp_path / name / f"{index}.png")
    (tmp_path / "a" / "3.png").write_bytes(b"")
    source, frame = open_source(tmp_path), Frame((3, 8, 8))
    told: list[tuple[int, int]] = []
    first = survey(source, frame, 10**6, 0, lambda done, count: told.append((done, count)))
    monkeypatch.setattr(module, "AT_ONCE", 4)
    other = survey(source, frame, 10**6, 0)
    assert first.digests == other.digests
    assert first.broken == other.broken == {3: "the file is empty"}
    assert (first.sums == other.sums).all()
    assert (first.thumbnails == other.thumbnails).all()
    assert told == [(18, 18)]
