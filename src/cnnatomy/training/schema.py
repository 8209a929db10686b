"""A recipe: everything that decides how a network is trained, as one value."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Self

import yaml

from cnnatomy.data.augmentation.settings import NAMES, Augmentation
from cnnatomy.errors import UserError, nearest, shown
from cnnatomy.fields import about as fields_about
from cnnatomy.fields import choice, number, other, types
from cnnatomy.plain import checked
from cnnatomy.readers.yaml.source import KeyLines, plain_document
from cnnatomy.runs.run import Run
from cnnatomy.tasks.losses import OWN

OPTIMIZERS = ("sgd", "nesterov", "rmsprop", "adam", "adamw", "muon")
DECOUPLED = ("adamw", "muon")
"""Optimizers whose weight decay is decoupled from the gradient: that is what makes them what they are."""
SCHEDULES = ("constant", "step", "plateau", "cosine", "one-cycle", "polynomial")
MAX_RATE, MAX_FACTOR = 1e30, 1e3
"""Up to here a rate times a factor times a decay is a number in float32."""
INITIALISATIONS = ("he", "xavier", "calibrated", "torch")


@dataclass(frozen=True, kw_only=True)
class Recipe(Augmentation):
    """How a network is trained. What each field is, is said beside it, and by `cnnatomy recipe`.

    Raises `UserError` for a value that makes no sense, alone or beside the others.
    """

    optimizer: str = choice("sgd", OPTIMIZERS, "what makes a step of a gradient")
    learning_rate: float = number(0.01, 0, MAX_RATE, "of the steps after the warmup", above=True)
    momentum: float = number(0.9, 0, 1, "of sgd, nesterov, rmsprop and muon; beta 1 of adam and adamw", below=True)
    second_moment: float = number(
        0.999, 0, 1, "how slowly rmsprop's mean square (alpha) and adam's (beta 2) change", below=True
    )
    epsilon: float = number(
        1e-8, 0, 1e30, "added to the root of the mean square by rmsprop, adam and adamw", above=True
    )
    schedule: str = choice("plateau", SCHEDULES, "how the learning rate changes")
    warmup: float = number(0.0, 0, 10**6, "epochs in which it rises from 0, linearly, before the schedule")
    cut: float = number(0.1, 0, 1, "factor on the learning rate, of step and plateau")
    cut_patience: int = number(3, 0, 10**6, "epochs without a lower validation loss before plateau cuts")
    cut_every: int = number(0, 0, 10**6, "epochs between two cuts of step")
    cut_at: tuple[int, ...] = other((), "epochs after which step cuts")
    power: float = number(1.0, 0, 100, "of polynomial: the rate is (1 - share done) to this power", above=True)
    final: float = number(0.0, 0, 1, "share of the learning rate with which cosine and polynomial end")
    epochs: float = number(30, 0, 10**6, "how often every image is seen, at most", above=True)
    patience: int = number(10, 0, 10**6, "epochs without a lower validation loss before training stops; 0: never")
    batch_size: int = number(64, 1, 2**20, "images a step")
    accumulate: int = number(
        0, 0, 2**20, "parts of a batch whose gradients are added up; 0: as many as memory asks for"
    )
    weight_decay: float = number(5e-4, 0, MAX_FACTOR, "what pulls weights to 0 (L2)")
    decay: str = choice("auto", ("auto", "coupled", "decoupled"), "added to the gradient, or taken off the weights")
    decay_norms: bool = other(True, "whether normalisation and biases decay, too")
    l1: float = number(0.0, 0, MAX_FACTOR, "times the sum of all absolute weights, added to the loss")
    loss: str = other("", "by name; empty: that of the task")
    focal_gamma: float = number(2.0, 0, 100, "of the loss focal: how little sure answers count")
    huber_delta: float = number(1.0, 0, 1e30, "of the loss huber: where the square ends", above=True)
    norm: float = number(2.0, 1, 100, "of the loss lp: p")
    losses: dict[str, str] = other({}, "of several heads, by name: the loss of each; its task's where it is not given")
    loss_weights: dict[str, float] = other({}, "of several heads, by name; 1 where it is not given")
    auxiliary_weight: float = number(0.3, 0, 1e6, "of the loss of each auxiliary head")
    label_smoothing: float = number(0.0, 0, 1, "share of a label that is spread over all classes", below=True)
    class_weights: str = choice("auto", ("auto", "none", "balanced"), "of rare classes in the loss")
    sampler: str = choice("none", ("none", "balanced"), "balanced: images of rare classes are drawn more often")
    dropout: float | None = number(None, 0, 1, "rate of every dropout of the network; null: its own", below=True)
    stochastic_depth: float = number(
        0.0, 0, 1, "how often the last residual branch is left out; the first hardly", below=True
    )
    clip: float = number(0.0, 0, 1e30, "largest norm of the gradient; 0: any")
    ema: float = number(
        0.0, 0, 1, "decay of the average of the weights that is evaluated and kept, at most; 0: none", below=True
    )
    initialisation: str = choice("he", INITIALISATIONS, "variance of the weights: 2/n, 2/(n_in + n_out), 1/n, torch's")
    bias: float = number(0.0, -1e30, 1e30, "what every bias begins with")
    freeze: tuple[str, ...] = other((), "parts that are not trained: tail, body, head, or paths in them")
    unfreeze: float = number(0.0, 0, 10**6, "epochs after which the frozen part before the head is trained, and so on")
    rates: dict[str, float] = other({}, "factors on the learning rate, by part or path")
    precision: str = choice("float32", ("float32", "bfloat16", "float16"), "of the arithmetic (weights stay float32)")
    memory_format: str = choice("contiguous", ("contiguous", "channels_last"), "order of the numbers of a feature map")
    compile: bool = other(False, "whether torch.compile makes the step faster")
    seed: int = number(0, 0, 2**63 - 1, "of weights, order, augmentation and dropout")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.decay == "coupled" and self.optimizer in DECOUPLED:
            raise UserError(f"recipe: {self.optimizer} has a decoupled weight decay; with a coupled one it is adam")
        if self.optimizer == "nesterov" and self.momentum == 0:
            raise UserError("recipe: nesterov needs a momentum above 0; without one it is sgd")
        if self.schedule == "step" and not (self.cut_every or self.cut_at):
            raise UserError("recipe: step needs cut_every=EPOCHS, or cut_at=[EPOCH, ...]")
        if any(epoch < 1 for epoch in self.cut_at) or list(self.cut_at) != sorted(set(self.cut_at)):
            raise UserError(f"recipe: cut_at is {shown(list(self.cut_at))}, expected rising numbers of epochs from 1")
        if self.warmup >= self.epochs and self.warmup:
            raise UserError(
                f"recipe: a warmup of {self.warmup:g} epochs is not shorter than {self.epochs:g} epochs: set warmup,"
                " too, on the command line with --set warmup=EPOCHS"
            )
        for name, weights in (("rates", self.rates), ("loss_weights", self.loss_weights)):
            if not all(0 <= weight <= MAX_FACTOR for weight in weights.values()):
                raise UserError(f"recipe: {name} is {shown(weights)}, expected numbers from 0 to {MAX_FACTOR:g}")

    @property
    def decays_decoupled(self) -> bool:
        """Whether weight decay is taken off the weights, and not added to the gradient."""
        return self.decay == "decoupled" or (self.decay == "auto" and self.optimizer in DECOUPLED)

    def own(self, field: str, code: Callable[..., object] | None) -> str:
        """What `code` of one's own, the loss or the transform, is called in messages; empty where there is none.

        Raises:
            UserError: if the recipe names code that was not given.
        """
        named = getattr(self, field)
        named = named if named.startswith(OWN) else ""
        if code is not None:
            return named or getattr(code, "__name__", "of one's own")
        if named:
            raise UserError(
                f"the recipe names the {field} {named}, and nothing that a file names is run: give it on the command"
                f" line, --{field} {named}, or in Python fit(..., {field}=...)"
            )
        return ""

    @classmethod
    def of(cls, run: Run) -> Self:
        """The recipe of a run; the default where its weights were trained elsewhere.

        Raises:
            UserError: if the run has a field that no recipe has, or a value that makes no sense.
        """
        return cls.from_dict(run.recipe, f"the recipe of {run.name}")

    @classmethod
    def from_dict(cls, record: Mapping[str, Any], source: str) -> Self:
        """The recipe with these fields, the others as they are by default; `source` is where they are from."""
        return cls(**values_of(record, KeyLines(source, None)))

    def as_dict(self) -> dict[str, Any]:
        """The values by name, as JSON and YAML hold them."""
        values = asdict(self)
        return {name: list(values[name]) if isinstance(values[name], tuple) else values[name] for name in FIELDS}

    def as_yaml(self) -> str:
        """Every field with what it is, as a file for `--recipe`."""
        lines = []
        for field in FIELDS.values():
            value = yaml.safe_dump(self.as_dict()[field.name], default_flow_style=True, width=1000)
            lines.append(f"{field.name}: {value.removesuffix('...' + chr(10)).strip():<12} # {about(field.name)}")
        return "\n".join(lines) + "\n"


HINTS = types(Recipe)
FIELDS = {field.name: field for field in sorted(fields(Recipe), key=lambda field: field.name in NAMES)}
"""In order: how the network is trained, then what happens to its images."""


def about(name: str) -> str:
    """What a field is, and what it may be."""
    return fields_about(FIELDS[name])


def values_of(record: Mapping[str, Any], places: KeyLines) -> dict[str, Any]:
    """Fields of a recipe, checked against their types; raises `UserError` for one that no recipe has."""
    for name in record:
        if name not in HINTS:
            raise UserError(f"{places(str(name))}: no recipe has this field.{nearest(str(name), HINTS)}")
    return {name: checked(got, HINTS[name], places(name)) for name, got in record.items()}


def changed(base: Recipe, settings: Iterable[str], **values: Any) -> Recipe:
    """A recipe with fields set as `--set` writes them: `momentum=0.8`, `cut_at=[30, 60]`, `rates={tail: 0.1}`.

    `values` are fields that are set besides; what both set is as `--set` has it. All are looked at together.

    Raises:
        UserError: if there is no such field, with the nearest, or the value is of another type or makes no sense.
    """
    for setting in settings:
        name, equals, text = (part.strip() for part in setting.partition("="))
        if not equals:
            raise UserError(f"--set {setting}: write FIELD=VALUE, such as momentum=0.8")
        if name not in HINTS:
            raise UserError(
                f"--set {setting}: a recipe has no {name!r}.{nearest(name, HINTS)}"
                " `cnnatomy recipe default --format yaml` lists all fields"
            )
        values[name] = checked(plain_document(text, f"--set {name}"), HINTS[name], f"--set {name}")
    return replace(base, **values)
