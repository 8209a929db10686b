"""The lecture's personal notes, rule by rule."""

from __future__ import annotations

import pytest
import torch

import cnnatomy as cn
from cnnatomy.catalogue.residual.personal import MEAN, STD, personal_notes, plan_depths, plan_levels


def test_its_body_and_head_are_those_of_resnext_50():
    notes, resnext = cn.network("personal-notes"), cn.network("resnext-50-32x4d")
    assert (notes.body, notes.head) == (resnext.body, resnext.head)
    assert notes.account().totals.parameters == resnext.account().totals.parameters


def test_images_of_512x1024_leave_a_map_of_16x32_for_44_18_billion_macs():
    account = cn.network("personal-notes-512x1024").account()
    assert account.features.shape == (2048, 16, 32)
    assert account.totals.parameters == 25_028_904
    assert round(account.totals.macs / 1e9, 2) == 44.18


@pytest.mark.parametrize(
    ("input", "levels"),
    [((3, 224, 224), 5), ((3, 256, 256), 5), ((3, 512, 1024), 6), ((3, 64, 64), 3), ((3, 32, 32), 2), ((3, 8, 8), 2)],
)
def test_so_many_levels_leave_6_to_8_rows_or_more(input, levels):
    assert plan_levels(input) == levels
    network = personal_notes(levels, width=1024).replace(input=input)
    rows = network.account().features.shape[1]
    assert rows == input[1] >> levels
    assert rows >= 6 or levels == 2


def test_a_level_repeats_few_few_many_few():
    assert plan_depths(5) == (3, 4, 6, 3)
    assert [plan_depths(levels) for levels in (2, 3, 4, 6)] == [(3,), (3, 3), (3, 6, 3), (3, 4, 4, 6, 3)]
    assert [len(plan_depths(levels)) for levels in range(2, 9)] == list(range(1, 8))


def test_there_are_at_least_as_many_features_as_classes():
    assert personal_notes(levels=4).account().features.channels == 1024
    with pytest.raises(
        cn.UserError, match="512 features are too few for 1000 classes: use more levels or a larger width"
    ):
        personal_notes(levels=3)
    with pytest.raises(cn.UserError, match="levels must be at least 2"):
        personal_notes(levels=1)


def test_it_normalises_the_data_itself():
    """Values from 0 to 1 with ImageNet's mean and deviation become mean 0 and deviation 1."""
    tail = cn.network("personal-notes", input=(3, 64, 64)).build().tail
    mean, std = torch.tensor(MEAN)[:, None, None], torch.tensor(STD)[:, None, None]
    x = torch.randn(4, 3, 64, 64)
    x = (x - x.mean((0, 2, 3), keepdim=True)) / x.std((0, 2, 3), keepdim=True)
    torch.testing.assert_close(tail.normalise(x * std + mean), x, rtol=1e-4, atol=1e-5)
