"""MSDNet: every exit predicts, and what is easy does not pay for the later exits."""

from __future__ import annotations

import pytest
import torch

import cnnatomy as cn
from cnnatomy.catalogue.dense.msdnet import Exits, exit_early


@pytest.fixture(scope="module")
def module():
    torch.manual_seed(0)
    return cn.network("msdnet-cifar").build().eval()


@pytest.fixture(scope="module")
def images():
    return torch.randn(5, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def test_each_exit_gives_a_prediction(module, images):
    predictions = module(images)
    assert list(predictions) == [f"exit{i}" for i in range(1, 12)]
    assert all(logits.shape == (5, 10) for logits in predictions.values())


def test_an_image_leaves_at_the_first_exit_that_is_sure(module, images):
    with torch.no_grad():
        everything = torch.stack(list(module(images).values()))  # (exits, images, classes)
        confidence = everything.softmax(2).amax(2)
        threshold = confidence[0].median().item()
        logits, taken = exit_early(module, images, threshold)
    for image, exit in enumerate(taken.tolist()):
        assert (confidence[:exit, image] < threshold).all()
        assert exit == 10 or confidence[exit, image] >= threshold
        torch.testing.assert_close(logits[image], everything[exit, image])
    assert len(set(taken.tolist())) > 1


def test_later_blocks_are_not_computed_for_images_that_have_left(module, images):
    batches: list[int] = []
    handles = [
        block.register_forward_hook(lambda _m, inputs, _o: batches.append(len(inputs[0])))
        for block in module.body.children()
    ]
    with torch.no_grad():
        exit_early(module, images, threshold=0.0)
        assert batches == [5]
        batches.clear()
        exit_early(module, images, threshold=1.1)
    assert batches == [5] * 11
    for handle in handles:
        handle.remove()


def test_earlier_exits_cost_less():
    account = cn.network("msdnet").account()
    macs, spent = 0, []
    for i in range(1, 6):
        macs += account.part(f"body.block{i}").macs
        spent.append(macs + account.part(f"head.exit{i}").macs)
    assert spent == sorted(spent)
    assert spent[0] < account.totals.macs / 3


def test_any_chain_can_have_early_exits():
    resnet = cn.network("resnet-18", classes=10, input=(3, 64, 64))
    body = Exits(*resnet.body.parts)
    network = resnet.replace(body=body).with_heads(
        reads={f"exit{i}": i for i in range(4)}, **{f"exit{i}": resnet.head for i in range(4)}
    )
    module = network.build().eval()
    logits, taken = exit_early(module, torch.randn(3, 3, 64, 64), threshold=0.0)
    assert logits.shape == (3, 10)
    assert taken.tolist() == [0, 0, 0]
