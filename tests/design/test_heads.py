"""Heads as interchangeable parts: section by section what the lecture says of them."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import nn
from torch.nn import functional

import cnnatomy as cn
from _allocations import outputs_of
from cnnatomy.catalogue.chain.lenet import CODES
from cnnatomy.design import (
    HEADS,
    Chain,
    CodeHead,
    ConvHead,
    KeypointHead,
    LinearHead,
    MapHead,
    Network,
    PixelHead,
    VectorHead,
    WeightedHead,
    depth_head,
    detection_heads,
    motion_head,
    segmentation_head,
)
from cnnatomy.layers import ArgMax, Conv, MaxPool, ReLU, Softmax
from cnnatomy.readers.yaml import design
from helpers import on_meta, run, watch

DOUBLE = torch.float64
BITS = tuple(itertools.product((-1.0, 1.0), repeat=3))

# each head for 7 classes, and the shapes that it predicts on a map of 2 x 3 pixels
EVERY_HEAD = {
    "linear": (LinearHead(7, dropout=0.4), [(7,)]),
    "vectorise": (VectorHead(7), [(7,)]),
    "vectorise, hidden layers": (VectorHead(7, hidden=(32, 16)), [(7,)]),
    "1x1 convolution": (ConvHead(7), [(7,)]),
    "pixels, mean": (PixelHead(7), [(7,)]),
    "pixels, majority": (PixelHead(7, "majority"), [(7,)]),
    "pixels, weighted": (PixelHead(7, "weighted"), [(7,)]),
    "pixels, learned": (PixelHead(7, "learned"), [(7,)]),
    "pixels, with the class map": (PixelHead(7, localise=True), [(7,), (7, 2, 3)]),
    "weighted average": (WeightedHead(7), [(7,)]),
    "codes": (CodeHead(BITS), [(8,)]),
    "codes, several a class": (CodeHead(BITS, owners=(0, 0, 1, 1, 2, 3, 3, 2)), [(4,)]),
    "segmentation": (segmentation_head(7, width=8), [(7, 64, 96)]),
    "segmentation, 1x1 alone": (MapHead(7, scale=4), [(7, 8, 12)]),
    "depth": (depth_head(width=8), [(1, 64, 96)]),
    "motion": (motion_head(width=8), [(2, 64, 96)]),
    "keypoints": (KeypointHead(5, width=8), [(5, 16, 24)]),
    "detection": (detection_heads(7, anchors=3, width=8), [(21, 2, 3), (12, 2, 3), (3, 2, 3)]),
}
BODIES = (
    "vgg-11",
    "resnet-18",
    pytest.param("mobilenet-v2", marks=pytest.mark.slow),
    pytest.param("densenet-121", marks=pytest.mark.full),
)


def test_every_head_of_the_package_is_tried():
    assert {type(head) for head, _ in EVERY_HEAD.values()} >= set(HEADS)


@pytest.mark.slow
@pytest.mark.parametrize("name", EVERY_HEAD)
@pytest.mark.parametrize("body", BODIES)
def test_any_head_on_any_body_by_one_call(body, name):
    """It builds, counts what torch counts, runs forward, and goes to YAML and back."""
    head, shapes = EVERY_HEAD[name]
    network = cn.network(body, input=(3, 64, 96)).replace(head=head)
    account = network.account()
    assert [x.shape for x in account.graph.outputs] == shapes
    module, x = on_meta(network)
    ran = watch(module.eval(), x)
    assert ran.flops == 2 * 2 * account.totals.macs
    assert ran.outputs == shapes
    assert sum(p.numel() for p in module.parameters()) == account.totals.parameters
    assert design.read(design.write(network)) == network


@pytest.mark.parametrize("name", EVERY_HEAD)
def test_every_parameter_of_a_head_gets_a_gradient(name):
    head, _ = EVERY_HEAD[name]
    network = Network(Chain(), Conv(6, 3, padding=1), head, input=(3, 6, 9))
    module = network.build()
    predictions = outputs_of(module(torch.randn(4, 3, 6, 9)))
    sum(prediction.square().sum() for prediction in predictions).backward()
    for path, parameter in module.named_parameters():
        assert parameter.grad is not None, path
        assert parameter.grad.isfinite().all(), path


def test_replacing_the_head_keeps_tail_and_body():
    network = cn.network("resnet-50")
    other = network.replace(head=LinearHead(7))
    assert (other.tail, other.body) == (network.tail, network.body)
    assert other == cn.network("resnet-50", classes=7)


def test_a_body_that_returns_several_maps_takes_a_head_by_name():
    """MSDNet has five exits; a new head reads the last of them."""
    network = cn.network("msdnet").with_heads(reads={"depth": 4}, depth=depth_head())
    assert network.graph().outputs[0].shape == (1, 224, 224)


def features(rows=7, columns=7, channels=12):
    return torch.randn(3, channels, rows, columns, dtype=DOUBLE)


def built_on(head, x):
    """The head as a module, in double precision, for maps like x."""
    return Network(Chain(), Chain(), head, input=tuple(x.shape[1:])).build().double().eval().head


# Vectorise, and global average pooling


def test_vgg_16_spends_102_764_544_parameters_on_its_first_vectorised_layer():
    network = cn.network("vgg-16").replace(head=VectorHead(1000, hidden=(4096, 4096)))
    assert network.account().part("head.fc1").parameters == 4096 * (512 * 7 * 7) + 4096 == 102_764_544
    assert network.account().totals.parameters == cn.network("vgg-16").account().totals.parameters


def test_a_vectorised_head_refuses_an_input_of_another_size():
    module = cn.network("resnet-18", input=(3, 64, 64)).replace(head=VectorHead(7)).build()
    with pytest.raises(cn.ShapeError, match=r"got 512x3x3, needs an input of 2048 elements, not 4608"):
        module(torch.randn(1, 3, 96, 96))


@pytest.mark.parametrize("size", [(64, 64), (96, 64), (33, 128)])
def test_global_average_pooling_takes_any_size(size):
    module = cn.network("resnet-18", classes=7).build().eval()
    assert module(torch.randn(1, 3, *size)).shape == (1, 7)


def test_global_average_pooling_is_vectorise_with_tied_weights():
    x = features()
    pooled, vectorised = built_on(LinearHead(5), x), built_on(VectorHead(5), x)
    with torch.no_grad():
        vectorised.fc.weight.copy_(pooled.fc.weight.repeat_interleave(49, dim=1) / 49)
        vectorised.fc.bias.copy_(pooled.fc.bias)
    torch.testing.assert_close(vectorised(x), pooled(x))


def test_dropout_acts_in_training_alone():
    x = features()
    module = built_on(VectorHead(5, hidden=(64,), dropout=0.5), x)
    assert torch.equal(module(x), module(x))
    module.train()
    assert not torch.equal(module(x), module(x))


def test_softmax_sums_to_1_and_keeps_the_class():
    x = features()
    logits = built_on(LinearHead(5), x)(x)
    probabilities = run(Softmax(), logits)
    torch.testing.assert_close(probabilities.sum(1), torch.ones(3, dtype=DOUBLE))
    assert torch.equal(run(ArgMax(), logits), run(ArgMax(), probabilities))


# Idea 1: classify each pixel, then combine; idea 2: weight the pixels, then average


def with_the_weights_of(linear, module):
    """A pixel classifier with the weights of a fully connected one."""
    with torch.no_grad():
        module.conv.weight.copy_(linear.fc.weight[:, :, None, None])
        module.conv.bias.copy_(linear.fc.bias)
    return module


@pytest.mark.parametrize("combine", ["mean", "weighted"])
def test_the_mean_of_pixel_classes_is_global_average_pooling_and_linear(combine):
    x = features()
    linear = built_on(LinearHead(5), x)
    pixels = with_the_weights_of(linear, built_on(PixelHead(5, combine), x))  # pixel weights start at 1
    torch.testing.assert_close(pixels(x), linear(x), rtol=1e-12, atol=1e-12)


def test_classifying_pixels_costs_49_times_the_macs_and_no_parameters_more():
    linear, pixels = (
        cn.network("resnet-50").replace(head=head).account().part("head") for head in (LinearHead(), PixelHead())
    )
    assert (linear.parameters, linear.macs) == (2_049_000, 2_048_000)
    assert (pixels.parameters, pixels.macs) == (2_049_000, 49 * 2_048_000)


def test_the_majority_wins_however_sure_the_minority_is():
    x = torch.zeros(1, 2, 3, 3, dtype=DOUBLE)
    x[0, 0] = 0.1
    x[0, 1, 1, 1] = 100.0
    majority, mean = built_on(PixelHead(2, "majority"), x), built_on(PixelHead(2), x)
    for module in (majority, mean):
        with torch.no_grad():
            module.conv.weight.copy_(torch.eye(2)[:, :, None, None])
            module.conv.bias.zero_()
    assert majority(x).argmax(1).item() == 0
    assert mean(x).argmax(1).item() == 1
    torch.testing.assert_close(majority(x), torch.tensor([[8 / 9, 1 / 9]], dtype=DOUBLE))


def test_the_class_map_says_where():
    x = features(4, 6)
    scores, where = built_on(PixelHead(5, localise=True), x)(x)
    assert where.shape == (3, 5, 4, 6)
    torch.testing.assert_close(where.mean((2, 3)), scores)


def test_weights_of_1_are_global_average_pooling_and_training_moves_them():
    x = features()
    linear, weighted = built_on(LinearHead(5), x), built_on(WeightedHead(5), x)
    with torch.no_grad():
        weighted.fc.weight.copy_(linear.fc.weight)
        weighted.fc.bias.copy_(linear.fc.bias)
    assert torch.equal(weighted(x), linear(x))
    trained(weighted, x, lambda y: functional.cross_entropy(y, torch.tensor([0, 1, 2])))
    assert not torch.equal(weighted.pixelscale.weight, torch.ones(49, dtype=DOUBLE))


def test_squeezenets_head_has_513_000_parameters():
    network = cn.network("squeezenet-1.0")
    replaced = network.replace(head=ConvHead())
    assert replaced.account().part("head").parameters == 513_000
    assert replaced.account().totals == network.account().totals


# Codes


def test_every_code_of_the_book_is_decoded_as_itself():
    head = CodeHead(CODES)
    module = Network(Chain(), Chain(), head, input=(84, 1, 1)).build().eval().head
    with torch.no_grad():
        module.fc.weight.copy_(3 * torch.eye(84))  # tanh(3) is near enough to 1
        module.fc.bias.zero_()
    assert module(torch.tensor(CODES)[:, :, None, None]).argmax(1).tolist() == list(range(10))


def test_a_class_may_own_several_codes():
    owners = (0, 0, 1, 1, 2, 3, 3, 2)
    module = Network(Chain(), Chain(), CodeHead(BITS, owners), input=(3, 1, 1)).build().eval().head
    with torch.no_grad():
        module.fc.weight.copy_(3 * torch.eye(3))
        module.fc.bias.zero_()
    assert module(torch.tensor(BITS)[:, :, None, None]).argmax(1).tolist() == list(owners)
    with pytest.raises(cn.UserError, match="8 codes need as many owners, got 1"):
        CodeHead(BITS, (0,))


# Training: small tasks on which a head must get better


def trained(module, x, loss, steps=60):
    """Full-batch Adam; the losses before and after."""
    optimiser = torch.optim.Adam(module.parameters(), lr=0.02)
    losses = []
    for _ in range(steps):
        optimiser.zero_grad()
        value = loss(module(x))
        value.backward()
        optimiser.step()
        losses.append(value.item())
    return losses[0], losses[-1]


def squares(count=16, size=16):
    """A bright square of 8 pixels on noise: images, in which quarter it is, and a mask of its pixels."""
    generator = torch.Generator().manual_seed(0)
    x = 0.1 * torch.randn(count, 1, size, size, generator=generator)
    quarter = torch.randint(4, (count,), generator=generator)
    mask = torch.zeros(count, size, size, dtype=torch.long)
    for i, q in enumerate(quarter.tolist()):
        rows, columns = slice(8 * (q // 2), 8 * (q // 2) + 8), slice(8 * (q % 2), 8 * (q % 2) + 8)
        x[i, :, rows, columns] += 1
        mask[i, rows, columns] = 1
    return x, quarter, mask


def small(head) -> nn.Module:
    torch.manual_seed(0)
    tail = Chain(Conv(8, 3, padding=1), ReLU(), MaxPool(2))
    return Network(tail, Chain(Conv(16, 3, padding=1), ReLU(), MaxPool(2)), head, input=(1, 16, 16)).build()


@pytest.mark.slow
@pytest.mark.parametrize(
    "head",
    [
        VectorHead(4),
        PixelHead(4, "learned"),
        PixelHead(4, "weighted"),
        CodeHead(((1, 1, -1), (1, -1, 1), (-1, 1, 1), (-1, -1, -1))),
    ],
    ids=repr,
)
def test_heads_that_see_places_learn_where_the_square_is(head):
    x, quarter, _ = squares()
    module = small(head)
    first, last = trained(module, x, lambda y: functional.cross_entropy(y, quarter))
    assert last < 0.8 * first
    assert (module(x).argmax(1) == quarter).float().mean() > 0.5  # chance is 0.25


def test_a_class_map_learns_from_labels_of_its_pixels():
    """Localised labels (idea 1): the class map has a cross-entropy of its own."""
    x, _, mask = squares()
    labels = mask[:, ::4, ::4]
    module = small(PixelHead(2, localise=True))
    first, last = trained(module, x, lambda y: functional.cross_entropy(y[1], labels))
    assert last < 0.5 * first


def test_segmentation_gives_each_pixel_of_the_input_its_label():
    x, _, mask = squares()
    module = small(Chain(segmentation_head(2, scale=4, width=0)))
    first, last = trained(module, x, lambda y: functional.cross_entropy(y, mask))
    assert last < 0.5 * first
    labels = run(ArgMax(), module(x))[:, 0]
    assert labels.shape == mask.shape
    assert (labels == mask).float().mean() > 0.9


def test_depth_and_keypoints_are_learned_as_maps():
    x, _, mask = squares()
    for head, target in (
        (depth_head(scale=4, width=0), mask[:, None].float()),
        (KeypointHead(1, doublings=2, width=8), mask[:, None].float()),
    ):
        first, last = trained(small(head), x, lambda y, target=target: functional.mse_loss(y, target))
        assert last < 0.5 * first


def test_two_heads_share_one_pass_of_the_encoder_and_both_learn():
    x, _, mask = squares()
    network = Network(
        Chain(Conv(8, 3, padding=1), ReLU()),
        Chain(MaxPool(2), Conv(16, 3, padding=1), ReLU()),
        LinearHead(),
        (1, 16, 16),
    ).with_heads(place=VectorHead(4), mask=MapHead(2, scale=2), early=LinearHead(4), auxiliary=["early"])
    torch.manual_seed(0)
    module = network.build()
    passes: list[str] = []
    module.body.register_forward_hook(lambda *_: passes.append("body"))
    assert list(module(x)) == ["place", "mask", "early"]
    assert list(module.eval()(x)) == ["place", "mask"]
    assert passes == ["body", "body"]
    place = squares()[1]

    def losses(y):
        return functional.cross_entropy(y["place"], place), functional.cross_entropy(y["mask"], mask)

    before = [loss.item() for loss in losses(module(x))]
    trained(module, x, lambda y: sum(losses(y)))
    after = [loss.item() for loss in losses(module(x))]
    assert all(b < 0.8 * a for a, b in zip(before, after, strict=True))


def test_an_unknown_way_to_combine_is_refused():
    with pytest.raises(cn.UserError, match="combine must be one of mean, majority, weighted, learned"):
        PixelHead(7, "median")
