"""What is drawn into training, validation, test and folds, and what stays together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from cnnatomy.data.loading import Loading
from cnnatomy.data.splits import LEFT_OUT, TEST, TRAIN, VAL, Divisible, fold_images, split_images
from cnnatomy.errors import UserError

TOGETHER = frozenset({TRAIN})


def unlike(count: int) -> list[bytes]:
    return [b"%d" % number for number in range(count)]


def divisible(
    own: NDArray[np.int8],
    labels: Sequence[int] | None = None,
    digests: Sequence[bytes] | None = None,
    groups: Sequence[str | None] | None = None,
    near: Sequence[tuple[int, int]] = (),
    every: bool = True,
) -> Divisible:
    """Images that the data set puts into its `own` splits; they differ, and have no classes, where nothing is said."""
    strata = np.zeros(len(own), np.int64) if labels is None else np.array(labels)
    pairs = np.array(near, np.int64).reshape(-1, 2)
    names = "" if labels is None else "abcde"
    return Divisible(strata, unlike(len(own)) if digests is None else digests, own, groups, pairs, every, names)


def split(
    labels: Sequence[int],
    digests: Sequence[bytes] | None = None,
    seed: int = 0,
    groups: Sequence[str | None] | None = None,
    near: Sequence[tuple[int, int]] = (),
    every: bool = True,
) -> NDArray[np.int8]:
    own = np.full(len(labels), TRAIN, np.int8)
    return split_images(divisible(own, labels, digests, groups, near, every), TOGETHER, seed)


def fold(
    labels: Sequence[int], folds: int, number: int, groups: Sequence[str | None] | None = None, seed: int = 0
) -> NDArray[np.int8]:
    nowhere = np.full(len(labels), TRAIN, np.int8)
    return fold_images(divisible(nowhere, labels, groups=groups), folds, number, seed)


@pytest.mark.parametrize(
    ("seed", "expected"),
    [(0, "TtTTTvttttTTtttttttvTvtttTtt"), (1, "tTttttttTTttttttvtTTtttvvtTt"), (2, "TTtTtTttTtTtvttttttvTttttTvt")],
)
def test_the_splits_of_runs_that_were_trained_before_stay(seed: int, expected: str) -> None:
    """Recorded before groups and near duplicates were: 28 images of three classes, of which three are there twice."""
    digests = unlike(28)
    for index in (10, 20, 27):
        digests[index] = digests[index - 10]
    found = split([index % 3 for index in range(28)], digests, seed)
    assert "".join("tvT"[part] for part in found) == expected


joined = st.lists(
    st.tuples(
        st.integers(0, 2),  # class
        st.integers(0, 40),  # content
        st.one_of(st.none(), st.sampled_from("abcdefghijklmnopqr")),  # group
    ),
    min_size=20,
    max_size=80,
)


@settings(max_examples=40)
@given(joined, st.lists(st.tuples(st.integers(0, 19), st.integers(0, 19)), max_size=8), st.integers(0, 1000))
def test_nothing_that_belongs_together_is_divided(
    images: list[tuple[int, int, str | None]], near: list[tuple[int, int]], seed: int
) -> None:
    labels = [label for label, _, _ in images]
    digests = [b"%d" % content for _, content, _ in images]
    groups = [group for _, _, group in images]
    try:
        found = split(labels, digests, seed, groups, near).tolist()
    except UserError:
        return
    assert LEFT_OUT not in found
    for names in (digests, groups):
        places: dict[object, set[int]] = {}
        for name, part in zip(names, found, strict=True):
            if name is not None:
                places.setdefault(name, set()).add(part)
        assert all(len(parts) == 1 for parts in places.values())
    assert all(found[one] == found[other] for one, other in near)
    first = dict(zip(reversed(digests), reversed(labels), strict=True))
    for label in {first[digest] for digest in digests}:
        assert {part for part, digest in zip(found, digests, strict=True) if first[digest] == label} == {0, 1, 2}


@given(st.lists(st.integers(0, 4), min_size=5, max_size=200), st.integers(0, 1000))
def test_each_class_has_its_share_of_each_split(labels: list[int], seed: int) -> None:
    counts = np.bincount(labels, minlength=5)
    if counts[counts > 0].min() < 3:
        with pytest.raises(UserError, match="3 are needed at least"):
            split(labels, seed=seed)
        return
    found = split(labels, seed=seed)
    for label in np.flatnonzero(counts):
        for part, share in ((TRAIN, 0.7), (VAL, 0.1), (TEST, 0.2)):
            has = int((found[np.array(labels) == label] == part).sum())
            assert abs(has - share * counts[label]) <= 1 or counts[label] == 3 == 3 * has


def test_groups_keep_every_class_near_its_share() -> None:
    generator = np.random.default_rng(0)
    groups = [f"person {person}" for person in range(40) for _ in range(generator.integers(10, 60))]
    labels = generator.integers(0, 5, len(groups))
    for seed in range(5):
        found = split(labels.tolist(), seed=seed, groups=groups)
        for label in range(5):
            own = found[labels == label]
            assert (own == TEST).mean() == pytest.approx(0.2, abs=0.04)
            assert (own == VAL).mean() == pytest.approx(0.1, abs=0.04)


def test_three_groups_go_to_three_splits_and_two_are_too_few() -> None:
    assert set(split([0] * 30, groups=["a", "b", "c"] * 10).tolist()) == {TRAIN, VAL, TEST}
    message = (
        r"^class b has 10 images, but in only 2 groups, 'x' and 'y'; 3 groups are needed at least, one each for train,"
        r" val, test. Choose another --group$"
    )
    with pytest.raises(UserError, match=message):
        split([0] * 10 + [1] * 10, groups=[None] * 10 + ["x", "y"] * 5)
    with pytest.raises(UserError, match=r"b has 45 images, all of them in the group 'IMG'; 3 groups .* --group$"):
        split([0] * 10 + [1] * 45, groups=[None] * 10 + ["IMG"] * 45)
    with pytest.raises(
        UserError, match=r"a has 4 images, but in only 2 groups, 'x' with 'y' and an image of no group;"
    ):
        split([0] * 5, digests=[b"0", b"1", b"1", b"2", b"3", b"3"][:5], groups=["x", "x", "y", "y", None])
    with pytest.raises(UserError, match=r"a has 3 images, but in only 2 groups \(near duplicates are one group\); 3 g"):
        split([0, 0, 0], near=[(0, 1)])
    with pytest.raises(UserError, match=r"^class a has 1 usable image; 3 are needed"):
        split([0])


def test_the_largest_of_three_groups_is_trained_on() -> None:
    for seed in range(20):
        found = split([0] * 90, seed=seed, groups=["a"] * 9 + ["b"] * 72 + ["c"] * 9)
        assert (found[9:81] == TRAIN).all()


def test_seeds_divide_groups_differently() -> None:
    groups = [f"{number % 20}" for number in range(200)] + ["20"] * 5
    assert len({tuple(split([0] * 205, seed=seed, groups=groups).tolist()) for seed in range(10)}) == 10


def test_a_class_that_need_not_be_in_every_split_is_divided_as_far_as_it_goes() -> None:
    found = split([0] * 10 + [1] * 2 + [2], every=False)
    assert (found[:10] == TEST).sum() == 2
    assert found[12] == TRAIN


def test_near_duplicates_connect_groups() -> None:
    for seed in range(10):
        found = split([0] * 12, seed=seed, groups=[*"aaabbb", *[None] * 6], near=[(2, 3), (5, 6)])
        assert len(set(found[:7].tolist())) == 1


def test_groups_across_the_splits_of_a_data_set_stay_where_they_are() -> None:
    own = np.array([TRAIN] * 10 + [TEST] * 4, np.int8)
    groups = ["a"] * 3 + [None] * 7 + ["a"] * 4
    found = split_images(divisible(own, groups=groups), {TRAIN, TEST}, 0)
    assert (found[10:] == TEST).all()
    assert len(set(found[:3].tolist())) == 1
    assert (found == VAL).sum() == 1


def test_data_without_classes_are_divided_too() -> None:
    found = split_images(divisible(np.zeros(50, np.int8)), TOGETHER, 0)
    assert [(found == part).sum() for part in (TRAIN, VAL, TEST)] == [35, 5, 10]
    with pytest.raises(UserError, match=r"^the data set has 2 usable images that differ; 3 are needed"):
        split_images(divisible(np.zeros(2, np.int8)), TOGETHER, 0)


@given(
    st.lists(st.tuples(st.integers(0, 2), st.one_of(st.none(), st.sampled_from("abcdefgh"))), min_size=20, max_size=80),
    st.integers(2, 5),
    st.integers(0, 1000),
)
@settings(max_examples=30)
def test_each_image_is_tested_in_one_fold(images: list[tuple[int, str | None]], folds: int, seed: int) -> None:
    labels, groups = [label for label, _ in images], [group for _, group in images]
    try:
        found = [fold(labels, folds, number, groups, seed) for number in range(1, folds + 1)]
    except UserError:
        return
    assert (sum((one == TEST).astype(int) for one in found) == 1).all()
    for one in found:
        assert set(one.tolist()) == {TRAIN, VAL, TEST}
        for group in set(groups) - {None}:
            assert len({int(part) for part, name in zip(one, groups, strict=True) if name == group}) == 1


@given(st.lists(st.integers(0, 4), min_size=5, max_size=200), st.integers(2, 6), st.integers(0, 1000))
@settings(max_examples=30)
def test_each_fold_tests_its_share_of_each_class(labels: list[int], folds: int, seed: int) -> None:
    counts = np.bincount(labels, minlength=5)
    if counts[counts > 0].min() < max(4, folds):
        return
    sizes = []
    for number in range(1, folds + 1):
        found = fold(labels, folds, number, seed=seed)
        tested = np.bincount(np.array(labels)[found == TEST], minlength=5)
        assert (np.abs(tested - counts / folds) < 1).all()
        rest = counts - tested
        kept = np.bincount(np.array(labels)[found == VAL], minlength=5)
        assert (np.abs(kept - 0.1 * rest) <= 1).all()
        sizes.append(tested.sum())
    assert max(sizes) - min(sizes) <= 1


def test_folds_leave_a_test_split_of_the_data_sets_own_alone() -> None:
    own = np.array([TRAIN] * 20 + [VAL] * 10 + [TEST] * 10, np.int8)
    digests = [*unlike(39), b""]
    digests[3] = b""
    found = [fold_images(divisible(own, digests=digests), 3, number, 0) for number in (1, 2, 3)]
    for one in found:
        assert (one[30:] == LEFT_OUT).all()
        assert one[3] == LEFT_OUT
    assert (sum((one == TEST).astype(int) for one in found)[:30] == [number != 3 for number in range(30)]).all()


def test_folds_follow_from_their_seed() -> None:
    labels = [index % 3 for index in range(60)]
    assert (fold(labels, 5, 2, seed=7) == fold(labels, 5, 2, seed=7)).all()
    assert (fold(labels, 5, 2, seed=7) != fold(labels, 5, 2, seed=8)).any()


def test_folds_that_cannot_be_are_refused() -> None:
    with pytest.raises(UserError, match=r"^1 folds: expected 2 or more"):
        Loading(folds=1, fold=1)
    with pytest.raises(UserError, match=r"^fold 6 of 5: expected 1 to 5"):
        Loading(folds=5, fold=6)
    with pytest.raises(
        UserError, match=r"^class b has 3 usable images that differ; 5 are needed at least, for 5 folds$"
    ):
        fold([0] * 10 + [1] * 3, 5, 1)
