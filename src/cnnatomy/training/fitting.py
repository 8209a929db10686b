"""`fit`: a network, a data set and a recipe become a trained network, and a run folder where one is wanted."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from cnnatomy import machine
from cnnatomy.data import Data
from cnnatomy.data.augmentation.own import Transform
from cnnatomy.data.batches import Batches
from cnnatomy.data.stores import watched
from cnnatomy.design.build import build
from cnnatomy.design.network import Design
from cnnatomy.errors import UserError
from cnnatomy.files import write_json, writing_to
from cnnatomy.machine import choose_device
from cnnatomy.runs import folder as run_folder
from cnnatomy.runs.choices import choices, chosen
from cnnatomy.runs.evaluation import evaluate, quiet
from cnnatomy.runs.folder import RunFolder
from cnnatomy.runs.memory import out_of_memory
from cnnatomy.runs.model import Model
from cnnatomy.runs.run import Run
from cnnatomy.runs.trained import Outcome, Trained
from cnnatomy.tasks.losses import Loss
from cnnatomy.tasks.task import Evaluation
from cnnatomy.training import augmenting, checkpoints, preparing, regularisation, resuming, transfer
from cnnatomy.training.divergence import DivergenceError
from cnnatomy.training.epochs import Keeper
from cnnatomy.training.initialisation import initialise
from cnnatomy.training.layers import Layers
from cnnatomy.training.loop import Training
from cnnatomy.training.peak import Peak
from cnnatomy.training.preparing import Plan
from cnnatomy.training.schema import Recipe
from cnnatomy.training.steps import frozen
from cnnatomy.training.tensorboard import TensorBoard
from cnnatomy.training.watching import Watcher

CHECKPOINT_EVERY = 300.0
"""Seconds after which the state is kept inside an epoch, too."""


def fit(
    design: Design,
    data: Data,
    recipe: Recipe,
    folder: str | Path | None = None,
    *,
    resume: bool = False,
    start: Trained | None = None,
    device: str = "auto",
    watch: Sequence[Watcher] = (),
    loss: Loss | None = None,
    transform: Transform | None = None,
    checkpoint_every: float = CHECKPOINT_EVERY,
    memory: int | None = None,
    final: bool = False,
) -> Trained:
    """Trains `design` on the training split, choosing on validation, and evaluates the best epoch once on test.

    Args:
        folder: where the run is kept. With `resume` one that was interrupted goes on, and ends with the weights, bit
            for bit, of one that was not; one that is complete goes on where `recipe` asks for more epochs.
        start: a trained network whose weights are taken: of tail and body always, of the head where it is the same. It
            becomes the parent of the run, which takes over its normalisation.
        device: `auto`, `cpu` or `cuda`.
        watch: what looks on.
        loss: one's own, of (outputs, targets) to the mean over the images.
        transform: one's own augmentation, after that of the recipe; see `data.augmentation.own`.
        checkpoint_every: seconds after which the state is kept inside an epoch, too.
        memory: bytes to stay within; a batch that needs more is computed in parts.
        final: trains on training and validation together, to the last epoch of the recipe, and keeps that: after all
            choices are made.

    Raises:
        UserError: where the folder exists or holds another run, the network does not fit the data or cannot be kept
            there, `start` is another network, there is no space, or the loss is no longer a number.
        KeyboardInterrupt: after Ctrl-C, with everything up to the last checkpoint kept.
    """
    if final:
        data = data.joined()
    place = RunFolder(Path(folder)) if folder is not None else None
    before = None
    if place is not None and resume:
        before = resuming.begun(place)
        recipe = resuming.settled(recipe, before)
    elif place is not None:
        run_folder.check_free(place)
    keep = place is not None
    plan = preparing.plan(
        design, data, recipe, choose_device(device), start=start, limit=memory, keep=keep, final=final
    )
    plan = replace(plan, loss=loss, transform=transform)
    return carry_out(plan, data, place, before, watch=watch, checkpoint_every=checkpoint_every)


def carry_out(
    plan: Plan,
    data: Data,
    place: RunFolder | None = None,
    before: Run | None = None,
    *,
    watch: Sequence[Watcher] = (),
    checkpoint_every: float = CHECKPOINT_EVERY,
) -> Trained:
    """Trains as planned, in a free folder, or goes on there with the run of `before`; see `fit`."""
    if place is not None and before is not None:
        plan = replace(plan, run=resuming.same_run(place, before, plan.run, plan.start))
    run = plan.run
    remedy = "Then go on with --resume" if place is not None else ""
    with ExitStack() as stack:
        stack.enter_context(surroundings(run.name, plan.device, place.path if place is not None else Path("."), remedy))
        data = data.on(plan.device, (preparing.available(plan.device, plan.limit) or 0) - plan.predicted)
        stack.callback(data.close)
        peak = Peak(plan.device)
        validation = data.val.batches(plan.evaluated) if len(data.val) else None
        training = ready(plan, data, [*watch, *_kept(place)], validation)
        if place is not None:
            stack.enter_context(run_folder.locked(place))
            if before is not None:
                resuming.take_up(training, place, before, run, plan.start)
            else:
                run_folder.create(place, run)
        keeper = Keeper(training, place, run.name, checkpoint_every)
        with _saying_what_to_do(run, training, place):
            training.run(keeper.epoch_done, keeper.between)
        return _finished(plan, data, training, place, peak)


def ready(plan: Plan, data: Data, watch: Sequence[Watcher], validation: Batches | None = None) -> Training:
    """A training before its first step; a loss and a transform of one's own are tried on a few images.

    Raises:
        UserError: where those fail, or nothing of the network can be trained.
    """
    run, recipe = plan.run, plan.recipe
    objective = preparing.objective(run.task, recipe, plan.weights, plan.loss)
    transform = augmenting.own(recipe, plan.transform)
    model = built(run, recipe, plan.start, plan.device)
    if plan.loss is not None:
        preparing.try_loss(model, data, objective)
    if transform is not None:
        augmenting.try_out(data, run.task, recipe, transform)
    batches = augmenting.batches(data, recipe, preparing.draws(data, recipe))
    return Training(model, recipe, objective, batches, validation, watch, transform)


def _finished(plan: Plan, data: Data, training: Training, place: RunFolder | None, peak: Peak) -> Trained:
    """What a training that is over has made: chooses on validation, tests once, and writes summary.json."""
    run, best, objective = plan.run, training.evaluated, training.objective
    best.network.load_state_dict(training.best_weights)
    best.eval()
    made = choices(best, training.val, run.task) if training.val is not None else {}
    task = chosen(run.task, made)[0] if "thresholds" in made else run.task
    test = evaluate(best, data.test.batches(plan.evaluated), task, objective.plain)
    summary = _summary(plan, data, training, test, peak) | {"validation": made}
    if place is not None:
        write_json(place.summary, summary)
    assert training.best is not None
    outcome = Outcome(tuple(training.rows), training.best, training.stopped_early, test, summary)
    return Trained(run, best, place.path if place is not None else None, outcome, made)


@contextmanager
def surroundings(name: str, device: torch.device, folder: Path = Path("."), remedy: str = "") -> Iterator[None]:
    """Meanwhile random numbers are the training's own, algorithms deterministic, libraries quiet, and errors told."""
    with (
        torch.random.fork_rng(),
        quiet(),
        _deterministic(device),
        out_of_memory(name),
        watched(),
        writing_to(folder, remedy),
    ):
        yield


def _kept(place: RunFolder | None) -> list[Watcher]:
    """What a run folder keeps of a training beside its state."""
    if place is None:
        return []
    layers = Layers(place.layers)
    return [layers, TensorBoard(place.tensorboard, layers)]


@contextmanager
def _saying_what_to_do(run: Run, training: Training, place: RunFolder | None) -> Iterator[None]:
    """Where training diverged, what can be done, which then works: the state inside the epoch is no use any more."""
    try:
        yield
    except DivergenceError as error:
        if place is not None:
            checkpoints.forget_inside(place)
        advice = resuming.BEFORE_ANY_STEP
        if training.steps:
            advice = resuming.remedy(training.recipe, training.epochs, place, run)
        raise UserError(f"{error}. {advice}") from None


def built(run: Run, recipe: Recipe, start: Trained | None, device: torch.device) -> Model:
    """The network of a run before its first step, by its recipe and with the weights of `start`."""
    torch.manual_seed(recipe.seed)
    graph = run.network.graph(run.shape)
    module: nn.Module = build(graph)
    if not any(parameter.requires_grad for parameter in module.parameters()):
        raise UserError(f"{run.name} has no parameters, so there is nothing to train: add layers with weights")
    initialise(module, recipe.initialisation, recipe.bias)
    held = {parameter for part in frozen(module, recipe, 0) for parameter in part.parameters()}
    if all(parameter in held for parameter in module.parameters() if parameter.requires_grad):
        raise UserError(
            f"recipe: freeze ({', '.join(recipe.freeze)}) leaves nothing of {run.name} to train: freeze less"
        )
    run.task.prepare(module)
    if start is not None:
        transfer.take_weights(module, run, start)
    if recipe.dropout is not None:
        regularisation.set_dropout(module, recipe.dropout)
    if recipe.stochastic_depth:
        regularisation.stochastic_depth(graph, module, recipe.stochastic_depth)
    model = Model(module, run.normalisation).to(device)
    if recipe.memory_format == "channels_last":
        model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return model


def _summary(plan: Plan, data: Data, training: Training, test: Evaluation, peak: Peak) -> dict[str, Any]:
    best, rows, report = training.best, training.rows, data.report
    assert best is not None
    record = plan.run.as_dict()
    record["data"] |= {
        "splits": data.describe()["splits"],
        "counts": report.counts,
        "skipped": [{"file": name, "reason": reason} for name, reason in report.skipped],
        "skipped_annotations": [{"annotation": name, "reason": reason} for name, reason in report.skipped_annotations],
        "ignored": report.ignored,
        "duplicates": report.duplicates,
        "left_out": report.left_out,
        "conflicts": report.conflicts,
    }
    metric = plan.run.task.metric
    trained = {
        "epochs": len(rows),
        "best_epoch": best.epoch,
        "stopped_early": training.stopped_early,
        "seconds": sum(row.seconds for row in rows),
        "images_per_second": sum(row.images_per_second for row in rows) / len(rows),
        "waiting": sum(row.waiting for row in rows) / max(sum(row.seconds for row in rows), 1e-9),
        "val_loss": None if math.isnan(best.val_loss) else best.val_loss,
        f"val_{metric}": None if math.isnan(best.val_score) else best.val_score,
        "predicted_bytes": plan.predicted,
        "peak_bytes": peak.bytes,
    }
    return record | {
        "training": trained,
        "test": test.as_dict(),
        "machine": machine.describe(training.device),
        "versions": machine.versions(*PACKAGES),
        "finished": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }


PACKAGES = ("cnnatomy", "torch", "numpy", "pillow", "scikit-learn")
"""What the numbers of a run depend on."""


@contextmanager
def _deterministic(device: torch.device) -> Iterator[None]:
    """Deterministic algorithms wherever torch has one; as it was afterwards."""
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    fill, benchmark = torch.utils.deterministic.fill_uninitialized_memory, torch.backends.cudnn.benchmark  # type: ignore[attr-defined]
    if device.type == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        torch.utils.deterministic.fill_uninitialized_memory = fill  # type: ignore[attr-defined]
        torch.backends.cudnn.benchmark = benchmark
