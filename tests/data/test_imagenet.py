from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torch import Tensor

from cnnatomy.data import Frame, load_labelled
from cnnatomy.data.imagenet import imagenet_classes, imagenet_ids
from cnnatomy.errors import UserError
from peers import timm


def folders(place: Path, names: list[str]) -> Path:
    for number, name in enumerate(names):
        (place / name).mkdir()
        Image.fromarray(np.full((4, 4), number, np.uint8)).save(place / name / "0.png")
    return place


def test_ids_are_a_thousand_in_order() -> None:
    ids = list(imagenet_ids(imagenet_classes()))
    assert len(ids) == len(set(ids)) == len(set(imagenet_classes())) == 1000
    assert ids == sorted(ids)
    assert all(re.fullmatch(r"n\d{8}", one) for one in ids)


@pytest.mark.parametrize(
    ("key", "number", "name"),
    [
        ("n01440764", 0, "tench"),
        ("n02123045", 281, "tabby"),
        ("n03000684", 491, "chain saw"),
        ("n03417042", 569, "garbage truck"),
        ("n15075141", 999, "toilet tissue"),
    ],
)
def test_a_folder_of_imagenet_is_the_class_of_its_id(key: str, number: int, name: str) -> None:
    """Known to everyone who has read Imagenette's list, or torchvision's."""
    classes = imagenet_classes()
    assert imagenet_ids(classes)[key] == number
    assert classes[number] == name


@pytest.mark.peers
def test_ids_are_those_that_timm_has() -> None:
    info = timm().data.ImageNetInfo("imagenet-1k")
    assert info.label_names() == list(imagenet_ids(imagenet_classes()))


def test_folders_of_ids_are_evaluated_among_all_classes_of_imagenet(tmp_path: Path) -> None:
    place = folders(tmp_path, ["n02123045", "n01440764"])
    split, _ = load_labelled(place, Frame((3, 4, 4)), imagenet_classes())
    assert isinstance(split.targets, Tensor)
    assert split.targets.tolist() == [0, 281]


def test_ids_mean_nothing_to_other_networks(tmp_path: Path) -> None:
    place = folders(tmp_path, ["n02123045", "n01440764"])
    with pytest.raises(UserError, match="has classes that the network does not know: n01440764, n02123045"):
        load_labelled(place, Frame((3, 4, 4)), ["tabby", "tench"])
