"""What is decided before the first step: what the recipe leaves open, what does not fit, and what is to be said."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import torch

from cnnatomy import machine
from cnnatomy.analysis import memory
from cnnatomy.data import Data
from cnnatomy.data.augmentation.own import Transform
from cnnatomy.design.build import build
from cnnatomy.design.network import Design
from cnnatomy.errors import UserError, counted, nearest, some_of
from cnnatomy.layers import BatchNorm
from cnnatomy.layers.layer import Shape
from cnnatomy.runs.evaluation import EVALUATION_BATCH, moved
from cnnatomy.runs.model import Model
from cnnatomy.runs.run import Run, keepable
from cnnatomy.runs.trained import Trained
from cnnatomy.tasks import ends
from cnnatomy.tasks.label import Label
from cnnatomy.tasks.losses import Loss, Options, guarded
from cnnatomy.tasks.task import Criterion, Task
from cnnatomy.training import augmenting, transfer
from cnnatomy.training.loop import Objective
from cnnatomy.training.schema import Recipe
from cnnatomy.training.steps import in_float32

RARE = 10
"""How many times rarer than the most frequent class a class is, from which on classes are weighted by default."""
TRIED = 8
"""Images of which a loss of one's own is computed before training begins."""
FINAL = "trained on training and validation together"
"""What a run says of itself for which all choices were made before."""
STATES = {
    "sgd": "momentum",
    "nesterov": "momentum",
    "muon": "momentum",
    "rmsprop": "adam",
    "adam": "adam",
    "adamw": "adam",
}
"""What an optimizer keeps, as the memory model calls it (rmsprop: the mean square, and the momentum)."""


@dataclass(frozen=True)
class Plan:
    """A training before its first step.

    Attributes:
        run: what will be kept of it, with the recipe in which nothing is left open.
        notes: what was decided, a line each.
        device: where it is computed.
        limit: bytes of memory to stay within, by default all that there are.
        evaluated: images at once in validation and test, which takes a feature map of each, too.
        predicted: bytes that a step, or validation, needs at its peak, by the memory model.
        weights: of each class in the loss; none where all count alike.
        start: a trained network whose weights are taken.
        loss: one's own, of (outputs, targets) to the mean over the images.
        transform: one's own augmentation, after that of the recipe; see `data.augmentation.own`.
    """

    run: Run
    notes: tuple[str, ...]
    device: torch.device
    limit: int | None
    evaluated: int
    predicted: int
    weights: tuple[float, ...] = ()
    start: Trained | None = None
    loss: Loss | None = None
    transform: Transform | None = None

    @property
    def recipe(self) -> Recipe:
        """That of the run."""
        return Recipe.of(self.run)

    def with_recipe(self, recipe: Recipe, *notes: str) -> Self:
        """The same by another recipe, and what is to be said of that."""
        return replace(self, run=replace(self.run, recipe=recipe.as_dict()), notes=(*self.notes, *notes))


def plan(
    design: Design,
    data: Data,
    recipe: Recipe,
    device: torch.device,
    *,
    start: Trained | None = None,
    limit: int | None = None,
    keep: bool = True,
    final: bool = False,
) -> Plan:
    """Decides what the recipe leaves open: class weights, and in how many parts a batch is computed.

    With `keep` the network must be one that a run folder can hold. `final` trains on training and validation together,
    which `data` have joined, to the last epoch.

    Raises:
        UserError: if the network does not fit the data's task, a field of the recipe does not fit the network, or not
            even a single image fits into memory.
    """
    notes = []
    network, removed = ends.without_activation(design, data.shape, data.task)
    if removed:
        notes.append(f"left out, as the loss and `predict` compute it: {removed}")
    notes += ends.spoiled(network, data.shape, data.task)
    network = keepable(network, data.shape) if keep else network
    weights, recipe, note = _balanced(data, recipe)
    notes += note
    run = Run.of(network, data, recipe.as_dict())
    _check(run, recipe)
    notes += augmenting.said(recipe, run.shape)
    if final:
        recipe = replace(recipe, patience=0)
    if start is not None:
        with torch.device("meta"):
            wanted = build(run.network.graph(run.shape)).state_dict()
        new = transfer.new_tensors(wanted, run, start)
        notes.append(_of_weights(new, run, recipe, start))
        run = replace(run, parent=start.name, change=f"trained further{' with a new head' * bool(new)}")
        if len(start.run.normalisation.mean) == run.shape[0]:
            run = replace(run, normalisation=start.run.normalisation)
    run = replace(run, change=FINAL) if final else run
    batch = min(recipe.batch_size, len(data.train))
    parts, predicted = split(run.network, run.shape, batch, recipe, device, limit)
    if recipe.accumulate == 0:
        recipe = replace(recipe, accumulate=parts)
        if parts > 1:
            there = available(device, limit)
            whole = needed(run.network, run.shape, batch, recipe, device).total
            notes.append(
                f"a step with {batch:,} images needs {_size(whole)}, and there are {_size(there or 0)}: each batch is"
                f" computed in {parts} parts, whose gradients are added up ({_size(predicted)})"
                + _seen_by_norms(run, -(-batch // parts))
            )
    evaluated, in_evaluation = at_once(run, recipe, device, limit)
    notes.append(
        f"predicted peak of tensors: {_size(predicted)} in a step, {_size(in_evaluation)} in validation of"
        f" {evaluated} images at once"
    )
    run = replace(run, recipe=recipe.as_dict())
    return Plan(run, tuple(notes), device, limit, evaluated, max(predicted, in_evaluation), weights, start)


def _of_weights(new: list[str], run: Run, recipe: Recipe, start: Trained) -> str:
    """What begins with the weights of `start`; raises `UserError` where a layer that does not is to stay as it is."""
    if not new:
        return f"weights of {start.name}, all of them"
    layers = list(dict.fromkeys(name.rpartition(".")[0] for name in new))
    why = "its classes are others, or in another order" if start.run.classes != run.classes else "it has other layers"
    for name in recipe.freeze:
        if frozen := [layer for layer in layers if f"{layer}.".startswith(f"{name}.")]:
            raise UserError(f"recipe: freeze: {frozen[0]} begins with new weights, as {why} than those of {start.name}")
    return f"weights of {start.name}, but for the head ({some_of(layers, 3)}), which is new: {why}"


def objective(task: Task, recipe: Recipe, weights: tuple[float, ...] = (), own: Criterion = None) -> Objective:
    """What training makes small, and what validation measures; `own` is a loss of one's own.

    Raises:
        UserError: if the loss does not fit the task, or is the name of code that was not given.
    """
    name = recipe.own("loss", own)
    if own is not None:
        checked = guarded(own, name)
        return Objective(task, checked, checked)
    options = Options.of(recipe.as_dict(), weights)
    return Objective(task, task.criterion(recipe.loss, options), task.criterion(recipe.loss, options.plain()))


def try_loss(model: Model, data: Data, objective: Objective) -> None:
    """Computes the loss once, of a few training images: a mistake in one of one's own is told before anything is kept.

    The network is as it was afterwards; raises `UserError` of `losses.guarded`.
    """
    some = replace(data.train, indices=data.train.indices[:TRIED]).batches(TRIED)
    images, target = next(iter(some))
    outputs, _ = model.eval().heads(model(images.to(model.mean.device)))
    objective.task.loss(in_float32(outputs), moved(target, model.mean.device), objective.criterion)


def _balanced(data: Data, recipe: Recipe) -> tuple[tuple[float, ...], Recipe, list[str]]:
    """Weights of the classes, the recipe that says so, and a line where the recipe had left it open."""
    notes: list[str] = []
    if not isinstance(data.task, Label):
        if recipe.class_weights == "balanced" or recipe.sampler == "balanced":
            raise UserError(f"recipe: class_weights and sampler are for one label; the task is {data.task.kind}")
        return (), replace(recipe, class_weights="none"), notes
    counts = class_counts(data)
    chosen = recipe.class_weights
    if chosen == "auto":
        most, least = max(counts), min(counts)
        chosen = "balanced" if most >= RARE * least and recipe.sampler == "none" else "none"
        if chosen == "balanced":
            rare, often = (data.classes[counts.index(count)] for count in (least, most))
            notes.append(
                f"{rare} has {counted(least, 'training image')}, {often} {most:,}: classes are weighted in the loss, so"
                " that all count alike (--set class_weights=none: each image alike)"
            )
    weights = balanced(counts) if chosen == "balanced" else ()
    return weights, replace(recipe, class_weights=chosen), notes


def class_counts(data: Data) -> list[int]:
    """Training images of each class."""
    return torch.bincount(_labels(data), minlength=len(data.classes)).tolist()


def balanced(counts: list[int]) -> tuple[float, ...]:
    """Weights inversely proportional to how often a class is there, whose mean over all images is 1.

    A class without an image has 0.
    """
    there = sum(count > 0 for count in counts)
    return tuple(sum(counts) / (there * count) if count else 0.0 for count in counts)


def draws(data: Data, recipe: Recipe) -> torch.Tensor | None:
    """How often each training image is drawn, relative to the others; None where all are seen equally often."""
    if recipe.sampler == "none":
        return None
    return torch.tensor(balanced(class_counts(data)), dtype=torch.float64)[_labels(data)]


def _labels(data: Data) -> torch.Tensor:
    """Of the training images, the class of each."""
    assert isinstance(data.task, Label)
    return data.task.wanted(data.train.targets)[data.train.indices]


def _check(run: Run, recipe: Recipe) -> None:
    """Raises `UserError` where a field of the recipe does not fit the network or its task."""
    augmenting.check(recipe, run.task, run.shape)
    if recipe.unfreeze and not recipe.freeze:
        raise UserError(
            f"recipe: unfreeze={recipe.unfreeze:g} trains what is frozen after so many epochs, and nothing is frozen:"
            " name parts with --freeze tail,body, or set unfreeze=0"
        )
    if recipe.label_smoothing and not isinstance(run.task, Label) and run.task.kind not in ("labels", "mask"):
        raise UserError(f"recipe: label_smoothing is for labels; the task is {run.task.kind}")
    ends.check_codes(run.network, run.shape, recipe.loss, recipe.losses)
    names = _paths(run.network, run.shape)
    for name in (*recipe.freeze, *recipe.rates):
        if name not in names:
            raise UserError(
                f"recipe: {run.name} has no part {name}.{nearest(name, names)} It has tail, body, head, ..."
            )


def _paths(network: Design, shape: Shape) -> set[str]:
    """Every path of a layer or block."""
    paths = set()
    for node in network.graph(shape).nodes:
        path = node.path
        while path:
            paths.add(path)
            path = path.rpartition(".")[0]
    return paths


def available(device: torch.device, limit: int | None) -> int | None:
    """Bytes of memory for a training: the limit, else all of the device; None where the system does not say."""
    if limit is not None:
        return limit
    return machine.memory() if device.type == "cpu" else torch.cuda.get_device_properties(device).total_memory


def needed(design: Design, shape: Shape, images: int, recipe: Recipe, device: torch.device) -> memory.Footprint:
    """What a step needs, by the memory model; an average of the weights counts as state of the optimizer."""
    setting = memory.Setting(images, dtype=recipe.precision, optimizer=STATES[recipe.optimizer], device=device.type)
    if recipe.optimizer == "sgd" and recipe.momentum == 0:
        setting = setting.replace(optimizer="sgd")
    step = memory.training(design.graph(shape), setting)
    copy = step.parameters + step.buffers if recipe.ema else 0  # the average of the weights
    return replace(step, optimizer=step.optimizer + copy)


def split(
    design: Design, shape: Shape, batch: int, recipe: Recipe, device: torch.device, limit: int | None
) -> tuple[int, int]:
    """In how many parts a batch fits into memory, and the bytes that a step then needs.

    Raises:
        UserError: naming the layer at which most is needed, where not even one image fits, or the recipe's parts don't.
    """
    there = available(device, limit)
    parts = max(recipe.accumulate, 1)
    step = needed(design, shape, -(-batch // parts), recipe, device)
    if there is None or step.total <= there:
        return parts, step.total
    one = needed(design, shape, 1, recipe, device)
    if one.total > there or recipe.accumulate:
        images = 1 if one.total > there else -(-batch // parts)
        worst = one if one.total > there else step
        remedy = "choose a smaller input or a smaller network" if one.total > there else "set accumulate=0"
        raise UserError(
            f"a training step of {design.name or 'the network'} with {images:,} image{'s' * (images > 1)} of"
            f" {'x'.join(map(str, shape))} needs {_size(worst.total)}, most at {worst.at} ({worst.phase}), and there"
            f" are {_size(there)}: {remedy}"
        )
    largest = memory.largest_batch(lambda images: needed(design, shape, images, recipe, device), there)
    parts = -(-batch // largest)
    return parts, needed(design, shape, -(-batch // parts), recipe, device).total


def at_once(run: Run, recipe: Recipe, device: torch.device, limit: int | None) -> tuple[int, int]:
    """How many images are evaluated at once while a network is in training, and the bytes that this needs."""
    graph = run.network.graph(run.shape)
    step = needed(run.network, run.shape, 1, recipe, device)
    setting = memory.Setting(dtype=recipe.precision, device=device.type)

    def footprint(images: int) -> memory.Footprint:
        return memory.inference(graph, setting.replace(batch=images))

    kept = step.gradients + step.optimizer  # which stay where they are meanwhile
    there = available(device, limit)
    images = EVALUATION_BATCH
    if there is not None and footprint(images).total + kept > there:
        images = max(1, memory.largest_batch(footprint, there - kept))
    return images, footprint(images).total + kept


def _seen_by_norms(run: Run, images: int) -> str:
    """What a smaller part of a batch means for batch normalisation, where there is some."""
    has_some = any(isinstance(node.layer, BatchNorm) for node in run.network.graph(run.shape).nodes)
    return f"; batch normalisation sees {images} images at a time" if has_some else ""


def _size(bytes: int) -> str:
    return f"{bytes / 2**30:,.1f} GiB" if bytes >= 2**30 else f"{bytes / 2**20:,.1f} MiB"
