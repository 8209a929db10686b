from __future__ import annotations

import sys

import pytest
import torch
from torch import Tensor

from cnnatomy.data.augmentation.own import guarded
from cnnatomy.errors import UserError
from cnnatomy.tasks import losses


def leaves(*_: Tensor) -> Tensor:
    sys.exit(3)


def test_a_transform_that_ends_python_is_one_message() -> None:
    with pytest.raises(UserError, match=r"the transform mine\(images\) failed: SystemExit: 3"):
        guarded(leaves, "mine")(torch.rand(2, 3, 4, 4))


def test_a_loss_that_ends_python_is_one_message() -> None:
    with pytest.raises(UserError, match=r"the loss mine\(outputs, targets\) failed: SystemExit: 3"):
        losses.guarded(leaves, "mine")(torch.rand(2), torch.rand(2))


def test_an_interrupt_stays_one() -> None:
    def interrupted(images: Tensor) -> Tensor:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        guarded(interrupted, "mine")(torch.rand(2, 3, 4, 4))
