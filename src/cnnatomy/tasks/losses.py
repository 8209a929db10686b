"""Losses: what training makes small. Each takes outputs and targets of a batch and gives the mean over its images."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from cnnatomy.errors import UserError, nearest, own_code

Loss = Callable[[Tensor, Tensor], Tensor]
"""Outputs and targets of a batch to a scalar: the mean over the images, so that parts of a batch add up."""

OWN = "python:"
"""How the name of a loss of the user's own begins. It is run where it was given, never because a file names it."""
IGNORED = 255
"""The label of a pixel that counts for nothing."""


@dataclass(frozen=True)
class Options:
    """What a loss depends on besides its name, as the fields of a recipe with these names; `weights` of each class."""

    label_smoothing: float = 0.0
    focal_gamma: float = 2.0
    huber_delta: float = 1.0
    norm: float = 2.0
    weights: tuple[float, ...] = ()
    losses: Mapping[str, str] = field(default_factory=dict)
    loss_weights: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, recipe: Mapping[str, Any], weights: tuple[float, ...] = ()) -> Options:
        """What a recipe says of them; the default where it says nothing."""
        names = [each.name for each in dataclasses.fields(cls) if each.name in recipe]
        return cls(**{name: recipe[name] for name in names}, weights=weights)

    def plain(self) -> Options:
        """For evaluation: every label counts as it is."""
        return dataclasses.replace(self, label_smoothing=0.0, weights=())


def make(name: str, options: Options) -> Loss:
    """The loss of this name.

    Raises:
        UserError: with the nearest name for an unknown one; if labels are to be smoothed and it knows no smoothing.
    """
    if name not in LOSSES:
        raise UserError(f"no loss {name}: one of {', '.join(LOSSES)}.{nearest(name, LOSSES)}")
    if options.label_smoothing and name not in SMOOTHED:
        raise UserError(f"label_smoothing is for the losses {' and '.join(SMOOTHED)}; the loss {name} needs 0")
    return LOSSES[name](options)


def guarded(loss: Callable[..., object], name: str) -> Loss:
    """A loss of one's own whose mistakes are told as a user's: what it raises, and what it gives but a scalar.

    Raises (the loss, when it is called):
        UserError: with its `name`.
    """

    def checked(outputs: Tensor, targets: Tensor) -> Tensor:
        with own_code(f"the loss {name}(outputs, targets)"):
            value = loss(outputs, targets)
        if not isinstance(value, Tensor) or value.numel() != 1:
            given = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise UserError(f"the loss {name} gives {given}, expected a tensor of one number: the mean over the images")
        if torch.is_grad_enabled() and not value.requires_grad:
            raise UserError(f"the loss {name} gives a number that does not depend on the outputs: it has no gradient")
        return value.reshape(())

    return checked


def per_image(values: Tensor, counts: Tensor | None = None) -> Tensor:
    """The mean over the images of the mean over what counts in each; an image in which nothing does, gives 0."""
    if counts is None:
        return values.flatten(1).mean(1).mean() if values.dim() > 1 else values.mean()
    return (values.flatten(1).sum(1) / counts.flatten(1).sum(1).clamp(min=1)).mean()


def cross_entropy(options: Options) -> Loss:
    """Of the softmax over the classes (axis 1), for one label an image or a pixel (`IGNORED` counts for nothing).

    With smoothing e the target is 1 - e + e/K for the label and e/K for every other class (Szegedy et al. 2015,
    "Rethinking the Inception architecture", section 7).
    """
    weights = torch.tensor(options.weights) if options.weights else None

    def loss(logits: Tensor, labels: Tensor) -> Tensor:
        each = F.cross_entropy(
            logits, labels.long(), ignore_index=IGNORED if logits.dim() > 2 else -100, reduction="none",
            label_smoothing=options.label_smoothing,
        )  # fmt: skip
        return _weighted(each, labels, weights)

    return loss


def focal(options: Options) -> Loss:
    """Cross entropy times (1 - p)^gamma, p being the probability of what is right (Lin et al. 2017, equation 4)."""
    weights = torch.tensor(options.weights) if options.weights else None

    def loss(logits: Tensor, labels: Tensor) -> Tensor:
        if labels.is_floating_point() or labels.shape == logits.shape:  # several labels, each of them yes or no
            each = F.binary_cross_entropy_with_logits(logits, labels.to(logits.dtype), reduction="none")
            return per_image(each * _unsure(each) ** options.focal_gamma)
        each = F.cross_entropy(
            logits, labels.long(), ignore_index=IGNORED if logits.dim() > 2 else -100, reduction="none"
        )
        return _weighted(each * _unsure(each) ** options.focal_gamma, labels, weights)

    return loss


def _unsure(each: Tensor) -> Tensor:
    """1 - p of a cross entropy; above 0, where a power below 1 has no derivative."""
    return -torch.expm1(-each.clamp(min=torch.finfo(each.dtype).tiny))


def _weighted(each: Tensor, labels: Tensor, weights: Tensor | None) -> Tensor:
    counted = labels != IGNORED if each.dim() > 1 else None
    if weights is not None:
        each = each * _weight_of(labels, weights, each)
    return per_image(each, counted)


def _weight_of(labels: Tensor, weights: Tensor, like: Tensor) -> Tensor:
    return weights.to(like)[labels.long().clamp(max=len(weights) - 1)]


def expected_reward(options: Options) -> Loss:
    """Minus the expected reward, 1 (or the weight of the class) where the class that is drawn is right (REINFORCE).

    The gradient is estimated by the score function, for which a reward is all that is needed; the value is exact, so
    that epochs can be compared.
    """
    weights = torch.tensor(options.weights) if options.weights else None

    def loss(logits: Tensor, labels: Tensor) -> Tensor:
        worth = torch.ones_like(logits[:, 0]) if weights is None else _weight_of(labels, weights, logits)
        drawn = score_function(logits, lambda drawn: (drawn == labels) * worth)
        exact = -(worth * logits.detach().softmax(1).gather(1, labels.long()[:, None])[:, 0]).mean()
        return exact + (drawn - drawn.detach())

    return loss


def score_function(logits: Tensor, reward: Callable[[Tensor], Tensor]) -> Tensor:
    """A scalar whose gradient is, in the mean, that of minus the expected reward (Williams 1992).

    An answer is drawn for each row of `logits`, `(images, answers)`; `reward` gives its reward, `(images,)`, and need
    not have a derivative. What a second answer of the same row earned is the baseline, which leaves the mean as it is.
    """
    probabilities = logits.detach().softmax(1)
    drawn, other = torch.multinomial(probabilities, 2, replacement=True).unbind(1)
    advantage = reward(drawn) - reward(other)
    return -(advantage * logits.log_softmax(1).gather(1, drawn[:, None])[:, 0]).mean()


def distance(options: Options) -> Loss:
    """Minus the score of the right class: with a head that scores by codes, the squared distance to the right one.

    Equation 8 of LeCun et al. 1998.
    """
    weights = torch.tensor(options.weights) if options.weights else None
    return lambda scores, labels: _weighted(-scores.gather(1, labels.long()[:, None])[:, 0], labels, weights)


def binary_cross_entropy(options: Options) -> Loss:
    """Of a sigmoid for each of several labels; the mean over the labels."""

    def loss(logits: Tensor, labels: Tensor) -> Tensor:
        targets = labels.to(logits.dtype) * (1 - options.label_smoothing) + options.label_smoothing / 2
        return per_image(F.binary_cross_entropy_with_logits(logits, targets, reduction="none"))

    return loss


def _of_numbers(each: Callable[[Tensor], Tensor]) -> Loss:
    """A loss of differences, the mean over an image; where a target is nan it counts for nothing."""

    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        known = ~targets.isnan()
        difference = torch.where(known, outputs - targets, 0.0)
        return per_image(each(difference), known)

    return loss


def huber(options: Options) -> Loss:
    """Half the square up to `huber_delta`, linear beyond, with one slope where they meet (Huber 1964)."""
    delta = options.huber_delta
    return _of_numbers(lambda e: torch.where(e.abs() <= delta, e.square() / 2, delta * (e.abs() - delta / 2)))


def lp(options: Options) -> Loss:
    """The p-norm of the difference of an image, (sum of |e|^p)^(1/p)."""

    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        difference = torch.where(targets.isnan(), 0.0, outputs - targets).flatten(1)
        largest = difference.detach().abs().amax(1, keepdim=True).clamp(min=torch.finfo(difference.dtype).tiny)
        norms: Tensor = torch.linalg.vector_norm(difference / largest, options.norm, dim=1)  # no power is too large
        return (largest[:, 0] * norms).mean()

    return loss


LOSSES: dict[str, Callable[[Options], Loss]] = {
    "cross-entropy": cross_entropy,
    "focal": focal,
    "expected-reward": expected_reward,
    "distance": distance,
    "binary-cross-entropy": binary_cross_entropy,
    "l1": lambda options: _of_numbers(torch.abs),
    "l2": lambda options: _of_numbers(torch.square),
    "huber": huber,
    "lp": lp,
}
"""Every loss by name; which of them fit, a task says."""
SMOOTHED = ("cross-entropy", "binary-cross-entropy")
"""Losses that know label smoothing."""
