"""Losses against torch's own, formulas, and the gradient of what they estimate."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from cnnatomy.errors import UserError
from cnnatomy.tasks.losses import IGNORED, LOSSES, Loss, Options, make, score_function
from cnnatomy.training.preparing import balanced


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def logits_and_labels(images: int = 7, classes: int = 5, seed: int = 0) -> tuple[Tensor, Tensor]:
    drawn = generator(seed)
    return 3 * torch.randn(images, classes, generator=drawn), torch.randint(classes, (images,), generator=drawn)


def maps_and_masks() -> tuple[Tensor, Tensor]:
    """Scores of three classes for each pixel, and a mask in which every image has other pixels that are ignored."""
    drawn = generator()
    logits = torch.randn(4, 3, 6, 5, generator=drawn)
    mask = torch.randint(3, (4, 6, 5), generator=drawn).to(torch.uint8)
    for number, image in enumerate(mask):
        image[: number + 1] = IGNORED
    return logits, mask


def gradient(loss: Loss, outputs: Tensor, targets: Tensor) -> Tensor:
    outputs = outputs.clone().requires_grad_()
    loss(outputs, targets).backward()
    assert outputs.grad is not None
    return outputs.grad


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
def test_cross_entropy_is_that_of_torch(smoothing: float) -> None:
    logits, labels = logits_and_labels()
    loss = make("cross-entropy", Options(label_smoothing=smoothing))
    torch.testing.assert_close(loss(logits, labels), F.cross_entropy(logits, labels, label_smoothing=smoothing))


def test_label_smoothing_is_least_at_the_smoothed_distribution() -> None:
    classes, smoothing = 4, 0.2
    wanted = torch.full((classes,), smoothing / classes, dtype=torch.float64)
    wanted[2] += 1 - smoothing
    loss = make("cross-entropy", Options(label_smoothing=smoothing))
    slope = gradient(loss, wanted.log()[None], torch.tensor([2]))
    torch.testing.assert_close(slope, torch.zeros_like(slope), atol=1e-12, rtol=0)
    assert loss(wanted.log()[None] + torch.tensor([[0.1, 0, 0, 0]]), torch.tensor([2])) > loss(
        wanted.log()[None], torch.tensor([2])
    )


def test_cross_entropy_of_pixels_is_the_mean_over_images_of_the_mean_over_labelled_pixels() -> None:
    logits, mask = maps_and_masks()
    each = [F.cross_entropy(x[None], y[None].long(), ignore_index=IGNORED) for x, y in zip(logits, mask, strict=True)]
    torch.testing.assert_close(make("cross-entropy", Options())(logits, mask), torch.stack(each).mean())


def test_pixels_that_are_ignored_have_no_gradient() -> None:
    logits, mask = maps_and_masks()
    for name in ("cross-entropy", "focal"):
        slope = gradient(make(name, Options()), logits, mask)
        ignored = (mask == IGNORED)[:, None].expand_as(slope)
        assert not slope[ignored].any()
        assert slope[~ignored].all()


def test_an_image_without_a_labelled_pixel_counts_as_0() -> None:
    logits, mask = maps_and_masks()
    loss = make("cross-entropy", Options())
    alone = loss(logits[:1], mask[:1])
    mask[1] = IGNORED
    torch.testing.assert_close(loss(logits[:2], mask[:2]), alone / 2)


def test_class_255_of_a_thousand_is_a_class_like_any_other() -> None:
    logits, labels = torch.randn(3, 1000, generator=generator()), torch.tensor([255, 255, 3])
    torch.testing.assert_close(make("cross-entropy", Options())(logits, labels), F.cross_entropy(logits, labels))


def test_focal_with_gamma_0_is_cross_entropy() -> None:
    for logits, labels in (logits_and_labels(), maps_and_masks()):
        focal, entropy = make("focal", Options(focal_gamma=0)), make("cross-entropy", Options())
        torch.testing.assert_close(focal(logits, labels), entropy(logits, labels))
        torch.testing.assert_close(gradient(focal, logits, labels), gradient(entropy, logits, labels))


def test_focal_follows_its_formula() -> None:
    logits, labels = logits_and_labels()
    p = logits.softmax(1).gather(1, labels[:, None])
    wanted = (-((1 - p) ** 1.5) * p.log()).mean()
    torch.testing.assert_close(make("focal", Options(focal_gamma=1.5))(logits, labels), wanted)


def test_focal_of_several_labels_follows_its_formula() -> None:
    logits, labels = torch.randn(6, 3, generator=generator()), torch.tensor([[0, 1, 1]] * 6, dtype=torch.uint8)
    p = torch.where(labels > 0, logits.sigmoid(), 1 - logits.sigmoid())
    wanted = (-((1 - p) ** 2) * p.log()).mean()
    torch.testing.assert_close(make("focal", Options())(logits, labels), wanted)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0])
def test_focal_has_a_gradient_where_the_answer_is_sure(gamma: float) -> None:
    loss = make("focal", Options(focal_gamma=gamma))
    sure = torch.tensor([[200.0, 0.0, 0.0]])
    assert gradient(loss, sure, torch.tensor([0])).isfinite().all()
    assert gradient(loss, sure, torch.tensor([[1, 0, 0]], dtype=torch.uint8)).isfinite().all()
    logits, mask = maps_and_masks()
    assert gradient(loss, logits, mask).isfinite().all()


def test_binary_cross_entropy_is_that_of_torch() -> None:
    logits = torch.randn(6, 3, generator=generator())
    labels = torch.randint(2, (6, 3), generator=generator(1)).to(torch.uint8)
    plain = make("binary-cross-entropy", Options())(logits, labels)
    torch.testing.assert_close(plain, F.binary_cross_entropy_with_logits(logits, labels.float()))
    smoothed = make("binary-cross-entropy", Options(label_smoothing=0.1))(logits, labels)
    wanted = F.binary_cross_entropy_with_logits(logits, labels.float() * 0.9 + 0.05)
    torch.testing.assert_close(smoothed, wanted)


def test_losses_that_know_no_smoothing_refuse_it() -> None:
    for name in ("focal", "expected-reward", "distance"):
        with pytest.raises(UserError, match=f"label_smoothing.*{name}"):
            make(name, Options(label_smoothing=0.1))


@pytest.mark.parametrize(
    ("name", "torchs"),
    [
        ("l1", F.l1_loss),
        ("l2", F.mse_loss),
        ("huber", lambda outputs, targets: F.huber_loss(outputs, targets, delta=0.7)),
    ],
)
def test_losses_of_numbers_are_those_of_torch(name: str, torchs: Callable[[Tensor, Tensor], Tensor]) -> None:
    loss = make(name, Options(huber_delta=0.7))
    for shape in ((6, 3), (4, 2, 5, 6)):
        outputs, targets = torch.randn(2, *shape, generator=generator()).unbind()
        torch.testing.assert_close(loss(outputs, targets), torchs(outputs, targets))
        torch.testing.assert_close(gradient(loss, outputs, targets), gradient(torchs, outputs, targets))


@pytest.mark.parametrize("delta", [0.3, 1.0, 4.0])
def test_huber_is_continuous_with_its_slope_at_delta(delta: float) -> None:
    loss, zero, step = make("huber", Options(huber_delta=delta)), torch.zeros(1, 1, dtype=torch.float64), 1e-9
    for sign in (-1, 1):
        inside, outside = (torch.full_like(zero, sign * (delta + h)) for h in (-step, step))
        torch.testing.assert_close(loss(inside, zero), loss(outside, zero), atol=1e-8 * delta, rtol=0)
        slopes = gradient(loss, inside, zero), gradient(loss, outside, zero)
        torch.testing.assert_close(*slopes, atol=1e-8, rtol=0)
        torch.testing.assert_close(slopes[1], torch.full_like(zero, sign * delta))


def test_lp_is_the_norm_of_each_image() -> None:
    outputs = torch.tensor([[3.0, -4.0], [0.0, 2.0]])
    zero = torch.zeros_like(outputs)
    for p, wanted in ((1.0, (7 + 2) / 2), (2.0, (5 + 2) / 2)):
        assert float(make("lp", Options(norm=p))(outputs, zero)) == pytest.approx(wanted)
    slopes = gradient(make("lp", Options(norm=2)), outputs, zero)
    torch.testing.assert_close(slopes, torch.tensor([[0.6, -0.8], [0.0, 1.0]]) / 2)
    slopes = gradient(make("lp", Options(norm=1)), outputs, zero)
    torch.testing.assert_close(slopes, torch.tensor([[1.0, -1.0], [0.0, 1.0]]) / 2)


@pytest.mark.parametrize("p", [1.0, 1.5, 2.0, 3.0, 100.0])
def test_lp_is_that_of_torch_however_large_the_power(p: float) -> None:
    outputs, targets = (30 * torch.randn(2, 5, 4, dtype=torch.float64, generator=generator())).unbind()

    def wanted(outputs: Tensor, targets: Tensor) -> Tensor:
        norms: Tensor = torch.linalg.vector_norm(outputs - targets, p, dim=1)
        return norms.mean()

    loss = make("lp", Options(norm=p))
    torch.testing.assert_close(loss(outputs, targets), wanted(outputs, targets))
    torch.testing.assert_close(gradient(loss, outputs, targets), gradient(wanted, outputs, targets))
    torch.testing.assert_close(loss(outputs.float(), targets.float()), wanted(outputs, targets).float())


@pytest.mark.parametrize("p", [1.0, 1.5, 2.0, 3.0, 100.0])
def test_lp_has_a_gradient_where_nothing_is_wrong(p: float) -> None:
    zero = torch.zeros(2, 3)
    assert gradient(make("lp", Options(norm=p)), zero, zero).isfinite().all()


@pytest.mark.parametrize("name", ["l1", "l2", "huber", "lp"])
def test_numbers_that_are_not_known_count_for_nothing(name: str) -> None:
    outputs, targets = torch.randn(2, 4, 1, 3, 5, generator=generator()).unbind()
    loss = make(name, Options())
    alone = loss(outputs[..., :2], targets[..., :2])
    targets[..., 2:] = torch.nan
    torch.testing.assert_close(loss(outputs, targets), alone)
    slope = gradient(loss, outputs, targets)
    assert slope[..., :2].all()
    assert not slope[..., 2:].any()


def test_distance_is_minus_the_score_of_the_right_class() -> None:
    codes = torch.tensor([[1.0, 1.0], [-1.0, 1.0], [-1.0, -1.0]])
    bits, labels = torch.tensor([[0.5, 0.0], [0.0, -1.0]]), torch.tensor([1, 2])
    scores = -torch.cdist(bits, codes).square()
    wanted = ((1.5**2 + 1) + 1) / 2
    assert float(make("distance", Options())(scores, labels)) == pytest.approx(wanted)


@pytest.mark.parametrize("name", ["cross-entropy", "focal", "distance", "expected-reward"])
def test_class_weights_count_a_class_so_often(name: str) -> None:
    """Weight 3 is three images of the class in the place of one."""
    logits, labels = logits_and_labels(classes=3)
    weights = (1.0, 3.0, 0.0)
    weighted = make(name, Options(weights=weights))(logits, labels)
    often = torch.cat([torch.full((int(weights[label]),), i) for i, label in enumerate(labels.tolist())])
    plain = make(name, Options())(logits[often], labels[often])
    torch.testing.assert_close(weighted * len(labels), plain * len(often))


@given(st.lists(st.integers(0, 1000), min_size=2, max_size=12).filter(any))
def test_balanced_weights_are_1_in_the_mean_over_the_images(counts: list[int]) -> None:
    weights = balanced(counts)
    assert sum(w * n for w, n in zip(weights, counts, strict=True)) / sum(counts) == pytest.approx(1)
    shares = [w * n for w, n in zip(weights, counts, strict=True) if n]
    assert shares == pytest.approx([shares[0]] * len(shares))


REWARDS = torch.tensor([0.1, 0.9, 0.4, 0.0])
"""Of the arms of a bandit."""


def test_the_mean_gradient_is_that_of_the_expected_reward() -> None:
    logits = torch.tensor([[0.3, -0.5, 1.0, 0.0]], dtype=torch.float64)
    exact = gradient(lambda x, y: -(x.softmax(1) * y).sum(), logits, REWARDS.double())
    draws = 200_000
    torch.manual_seed(0)
    each = gradient(lambda x, y: score_function(x, lambda drawn: y[drawn]), logits.expand(draws, 4), REWARDS.double())
    each = each * draws  # of each draw: the loss is the mean over them
    error = each.std(0) / draws**0.5
    assert ((each.mean(0) - exact[0]).abs() < 4 * error).all()


def test_the_baseline_makes_the_gradient_of_equal_rewards_0() -> None:
    logits = torch.randn(50, 4, generator=generator())
    assert not gradient(lambda x, y: score_function(x, lambda drawn: torch.ones(len(drawn))), logits, logits).any()


def test_training_on_the_expected_reward_finds_the_best_arm() -> None:
    torch.manual_seed(0)
    policy = torch.zeros(1, 4, requires_grad=True)
    for _ in range(400):
        score_function(policy.expand(32, 4), lambda drawn: REWARDS[drawn]).backward()
        assert policy.grad is not None
        with torch.no_grad():
            policy -= 1.0 * policy.grad
        policy.grad = None
    assert policy.softmax(1)[0, 1] > 0.9


def test_the_value_of_expected_reward_is_the_probability_of_what_is_right() -> None:
    """So that validation, which draws as well, can compare epochs by it."""
    logits, labels = logits_and_labels()
    loss = make("expected-reward", Options())
    wanted = -logits.softmax(1).gather(1, labels[:, None]).mean()
    torch.testing.assert_close(loss(logits, labels), wanted)
    with torch.inference_mode():
        torch.testing.assert_close(loss(logits, labels), wanted)


def test_the_mean_gradient_of_expected_reward_is_that_of_the_probability() -> None:
    logits, labels = logits_and_labels(images=3)
    draws = 100_000
    exact = gradient(lambda x, y: -x.softmax(1).gather(1, y[:, None]).mean(), logits, labels)
    torch.manual_seed(0)
    many = gradient(make("expected-reward", Options()), logits.repeat(draws, 1), labels.repeat(draws))
    torch.testing.assert_close(many.view(draws, 3, 5).sum(0), exact, atol=3e-3, rtol=0)


OF_LABELS = ("cross-entropy", "focal", "distance", "expected-reward")
OF_NUMBERS = ("l1", "l2", "huber", "lp", "binary-cross-entropy", "focal")


def example(name: str, images: int, kind: str, seed: int) -> tuple[Tensor, Tensor]:
    """Outputs and targets for a loss, in which what does not count differs from image to image."""
    drawn = generator(seed)
    if kind == "label":
        return logits_and_labels(images, 5, seed)
    if kind == "mask":
        mask = torch.randint(3, (images, 4, 3), generator=drawn)
        return torch.randn(images, 3, 4, 3, generator=drawn), mask.masked_fill(
            torch.rand(mask.shape, generator=drawn) < 0.6, IGNORED
        )
    outputs, targets = torch.randn(2, images, 2, 3, generator=drawn).unbind()
    if name in ("binary-cross-entropy", "focal"):
        return outputs, (targets > 0).to(torch.uint8)
    return outputs, targets.masked_fill(torch.rand(targets.shape, generator=drawn) < 0.4, torch.nan)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        *((name, "label") for name in OF_LABELS),
        *((name, "mask") for name in ("cross-entropy", "focal")),
        *((name, "numbers") for name in OF_NUMBERS),
    ],
)
@settings(deadline=None, max_examples=25)
@given(images=st.integers(2, 9), data=st.data(), seed=st.integers(0, 1000))
def test_losses_of_parts_add_up_to_that_of_the_batch(
    name: str, kind: str, images: int, data: st.DataObject, seed: int
) -> None:
    outputs, targets = example(name, images, kind, seed)
    weights = (0.5, 1.0, 1.5, 2.0, 0.25) if name in OF_LABELS and kind != "numbers" else ()
    loss = make(name, Options(weights=weights))
    cut = data.draw(st.integers(1, images - 1))
    parts = [(outputs[:cut], targets[:cut]), (outputs[cut:], targets[cut:])]
    total = torch.stack([loss(x, y) * (len(x) / images) for x, y in parts]).sum()
    torch.testing.assert_close(total, loss(outputs, targets))


def test_every_loss_is_looked_at_here() -> None:
    assert set(OF_LABELS) | set(OF_NUMBERS) == set(LOSSES)


def test_an_unknown_loss_is_refused_with_the_nearest() -> None:
    with pytest.raises(UserError, match=r"no loss cross-entrpy.*cross-entropy"):
        make("cross-entrpy", Options())
