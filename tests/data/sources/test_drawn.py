"""Drawn scenes as data sets."""

from __future__ import annotations

import pytest
import torch

from cnnatomy.data import Loading, load, open_source
from cnnatomy.data.sources.drawn import KINDS
from cnnatomy.errors import UserError


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_scenes_of_every_kind_are_a_data_set(kind: str) -> None:
    shape = (2 if kind == "motion" else 1, 32, 32)
    data = load(f"scenes:{kind}", shape)
    assert [len(getattr(data, name)) for name in ("train", "val", "test")] == [2000, 400, 400]
    assert data.report.lines() == ["drawn by cnnatomy out of the 1,797 digits that come with scikit-learn"]
    images, target = next(iter(data.val.batches(8)))
    assert images.shape == (8, *shape)
    tensors = target.values() if isinstance(target, dict) else [target]
    assert all(len(tensor) == 8 for tensor in tensors)
    pixels = torch.cat([images for images, _ in data.train.batches(500)]).double() / 255
    for channel, (mean, std) in enumerate(zip(data.normalisation.mean, data.normalisation.std, strict=True)):
        assert mean == pytest.approx(float(pixels[:, channel].mean()))
        assert std == pytest.approx(float(pixels[:, channel].std(correction=0)))
    again = load(f"scenes:{kind}", shape, Loading(split_seed=1))
    assert again.fingerprint != data.fingerprint


def test_a_kind_that_is_not_drawn_gets_the_nearest() -> None:
    with pytest.raises(UserError, match=r"no drawn scenes of objcts: .*Did you mean objects"):
        open_source("scenes:objcts")
