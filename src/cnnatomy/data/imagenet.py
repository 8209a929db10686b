"""The 1,000 classes of ImageNet (ILSVRC 2012): their names, and their ids in WordNet, by which folders are named."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

TABLE = Path(__file__).parent / "imagenet.txt"
"""A line for each class, `id name`, in the order of the ids, which is that of the outputs of published weights."""


def imagenet_classes() -> tuple[str, ...]:
    """The names of the classes in the order that published weights have, as torchvision has them."""
    return tuple(_numbers_and_names()[1])


def imagenet_ids(classes: Sequence[str]) -> dict[str, int]:
    """The number of each id where these are the classes of ImageNet; of others nothing."""
    numbers, names = _numbers_and_names()
    return numbers if tuple(classes) == names else {}


@cache
def _numbers_and_names() -> tuple[dict[str, int], tuple[str, ...]]:
    lines = [line.partition(" ") for line in TABLE.read_text(encoding="utf-8").splitlines()]
    return {key: number for number, (key, _, _) in enumerate(lines)}, tuple(name for _, _, name in lines)
