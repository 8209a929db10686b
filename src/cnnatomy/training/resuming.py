"""Going on with a run: from a sound state, with the same data and network, and with what may be changed on the way."""

from __future__ import annotations

import json
import logging
import math
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from cnnatomy.design.network import Design
from cnnatomy.errors import UserError, some_of
from cnnatomy.files import write_json
from cnnatomy.runs import folder as run_folder
from cnnatomy.runs.folder import RunFolder
from cnnatomy.runs.run import Run
from cnnatomy.runs.trained import Trained
from cnnatomy.tasks.losses import OWN
from cnnatomy.training import checkpoints, schedules
from cnnatomy.training.checkpoints import has_checkpoint
from cnnatomy.training.epochs import write_metrics
from cnnatomy.training.loop import Training
from cnnatomy.training.preparing import FINAL
from cnnatomy.training.schema import Recipe

CYCLES = ("cosine", "one-cycle", "polynomial")
"""Schedules that end at a given epoch, and so begin again where a run goes on after it."""
AMENDABLE = ("epochs", "patience", "learning_rate", "clip", "cut", "cut_patience")
"""Fields of a recipe that may be others when a run goes on."""
USUAL = {"sgd": 0.01, "nesterov": 0.01, "rmsprop": 0.001, "adam": 0.001, "adamw": 0.001, "muon": 0.001}
"""Learning rates that are rarely too high."""
BEFORE_ANY_STEP = (
    "No step had been taken, so that the learning rate is not why: look at what the loss adds up (l1, loss_weights),"
    " at the weights that it begins with (initialisation, bias, start), and at the images"
)
"""What to do where the first loss of all is no number."""

log = logging.getLogger(__name__)


def begun(place: RunFolder) -> Run:
    """The run in a folder, with its recipe complete; raises `UserError` where no training was begun there."""
    _, before = run_folder.read_run(place.path)
    if not before.recipe or (before.parent and place.model.exists() and not has_checkpoint(place)):
        origin = f"made from {before.parent} ({before.change})" if before.parent else before.source
        raise UserError(
            f"{place.path} holds weights without a training to go on with: {origin}. To train them further:"
            f" cnnatomy train {place.path} --start {place.path} --out ANOTHER_FOLDER"
        )
    return replace(before, recipe=Recipe.of(before).as_dict())


def settled(recipe: Recipe, before: Run) -> Recipe:
    """A recipe with what it leaves open as it was decided when the run was begun."""
    old = Recipe.of(before)
    parts = recipe.accumulate or old.accumulate
    weights = old.class_weights if recipe.class_weights == "auto" else recipe.class_weights
    return replace(recipe, accumulate=parts, class_weights=weights)


def same_run(place: RunFolder, before: Run, run: Run, start: Trained | None) -> Run:
    """The run that is gone on with; raises `UserError` where that in the folder is another one."""
    if start is None:  # the weights that it began with are in the checkpoint
        run = replace(run, parent=before.parent, change=before.change, normalisation=before.normalisation)
    check_classes(place.path, before, run.classes, run.source)
    check_network(place.path, before, run.network)
    old, new = before.as_dict(), run.as_dict()
    for key in AMENDABLE:
        old["recipe"].pop(key), new["recipe"].pop(key)
    if old["data"]["fingerprint"] == new["data"]["fingerprint"]:
        old["data"] = new["data"]  # wherever it lies now
    elif {**old["data"], "fingerprint": ""} == {**new["data"], "fingerprint": ""}:
        raise UserError(
            f"{run.source} has other images, labels or splits than when {place.path} was begun: give the same, or begin"
            f" another run with its weights: --start {place.path}"
        )
    for key in ("input", "data", "task", "normalisation", "recipe", "parent", "change"):
        if old.get(key) != new.get(key):
            was, now = _difference(old.get(key), new.get(key))
            raise UserError(f"{place.path} was begun with {key} {was}, now {now}: give the same, or another folder")
    return run


def as_chosen(place: RunFolder, run: Run) -> Recipe:
    """The recipe of a complete run with what it chose on validation: its best epoch, and when the rate was cut.

    Raises:
        UserError: if its last state, which knows that, cannot be read, or nothing was chosen.
    """
    if run.change == FINAL:
        raise UserError(f"{place.path} was {FINAL} already, so that it chose nothing: name the run that it was made of")
    recipe = Recipe.of(run)
    state = checkpoints.latest(place)
    if state is None:
        raise UserError(f"{place.last} is missing: it says which epoch was the best")
    rows = state["rows"]
    best = min(rows, key=lambda row: row["val_loss"])["epoch"]
    cuts = tuple(epoch for epoch in state["plateau"]["cut_after"] if epoch < best)
    if recipe.schedule not in ("plateau", "constant", "step"):  # which end with their last epoch, whatever it says
        chosen = replace(recipe, patience=0)
    elif recipe.schedule == "plateau":
        schedule = {"schedule": "step", "cut_at": cuts} if cuts else {"schedule": "constant"}
        chosen = replace(recipe, patience=0, epochs=best, **schedule)
    else:
        chosen = replace(recipe, patience=0, epochs=best)
    in_epoch = max(1, round(state["steps"] / min(len(rows), recipe.epochs)))
    if not _are_its_rates(chosen, [row["learning_rate"] for row in rows], in_epoch):
        log.warning(
            "%s had other learning rates on its way: it was gone on with. What is trained now goes once through the"
            " %s schedule, with a learning rate of %g and %g epochs",
            place.path,
            chosen.schedule,
            chosen.learning_rate,
            chosen.epochs,
        )
    return chosen


def _are_its_rates(recipe: Recipe, rates: list[float], in_epoch: int) -> bool:
    """Whether the last steps of the epochs, of so many steps, had the learning rates of this recipe."""
    steps = schedules.count(recipe.epochs, in_epoch)
    ends = [min(steps, (epoch + 1) * in_epoch) - 1 for epoch in range(math.ceil(recipe.epochs))]
    wanted = [schedules.rate(recipe, end / in_epoch, in_epoch) for end in ends]
    return all(math.isclose(one, other, rel_tol=1e-6) for one, other in zip(wanted, rates, strict=False))


def check_network(path: Path, before: Run, network: Design) -> None:
    """Raises `UserError` where a run is gone on with as another network than it was begun as."""
    if before.network != network:
        raise UserError(f"{path} holds a run of another network, {before.name}: name another folder")


def check_classes(path: Path, before: Run, classes: tuple[str, ...], source: str) -> None:
    """Raises `UserError` where a run is gone on with on other classes than it was begun on."""
    if before.classes != classes:
        was, now = some_of(before.classes, 8), some_of(classes, 8)
        raise UserError(
            f"{path} was begun on {len(before.classes)} classes ({was}), but {source} has {len(classes)} ({now}):"
            " give the same data, or another folder"
        )


def take_up(training: Training, place: RunFolder, before: Run, run: Run, start: Trained | None) -> None:
    """Loads the last state, and begins a new cycle where a run that had ended is to go on.

    Raises:
        UserError: if the state is another network's, or the recipe cannot be amended as it was.
    """
    state = checkpoints.latest(place)
    if state is None:
        if run.parent and start is None:
            raise UserError(
                f"{place.path} began with the weights of {run.parent}, and no state is kept yet. To begin again,"
                f" remove it and name those weights: --start {run.parent}"
            )
        if place.metrics.exists():
            log.warning("%s: no checkpoint is left, so training begins again with epoch 1", place.path)
    else:
        for weights in [state["network"]] + [state["best"]] * bool(state["rows"]):
            run_folder.check_weights(place.last, weights, training.model.network, run.name)
        try:
            training.load(state)
        except (KeyError, TypeError, ValueError, AttributeError, RuntimeError, IndexError) as error:
            raise UserError(f"{place.last}: training cannot go on from it ({type(error).__name__}: {error})") from None
        threads = state.get("threads", torch.get_num_threads())
        if threads != torch.get_num_threads():
            log.warning(
                "%s was trained with %d threads, now %d: sums are made in another order, and the weights will not be"
                " those of a run that was not interrupted, bit for bit",
                place.path,
                threads,
                torch.get_num_threads(),
            )
    for part in place.path.glob(".*.part"):  # what was being written when a process was killed
        part.unlink()
    if training.rows:  # a state may be from before what else is in the folder
        run_folder.write_weights(place.model, training.best_weights, run.name)
        write_metrics(place, training)
    if run.recipe != before.recipe:
        _amend(training, place, before, run)
    elif run != before:  # its data lie elsewhere
        write_json(place.run, run.as_dict())


def _amend(training: Training, place: RunFolder, before: Run, run: Run) -> None:
    """Goes on with another recipe than before: the state says where a cycle began, and run.json what holds now."""
    old, recipe = Recipe.of(before), training.recipe
    if training.epochs >= recipe.epochs + 1:  # a part of an epoch counts as one
        raise UserError(
            f"{place.path}: {training.epochs} epochs are done, more than the {recipe.epochs:g} that are asked for:"
            " give more --epochs"
        )
    if recipe.epochs != old.epochs:
        if training.steps != training.epochs * training.steps_per_epoch + training.step_in_epoch:
            raise UserError(
                f"{place.path} ended inside an epoch, after {old.epochs:g}: it cannot go on with the next."
                f" To train further: --start {shlex.quote(str(place.path))} --out ANOTHER_FOLDER"
            )
        ended = was_over(training, old) or 0 < training.begun == training.epochs  # or ended while this was being done
        if not ended and recipe.schedule in CYCLES:
            raise UserError(
                f"{place.path}: its {recipe.schedule} schedule was made for {old.epochs:g} epochs, of which"
                f" {training.epochs} are done: finish it (--resume without --epochs), then go on with more"
            )
        if ended and (recipe.schedule in CYCLES or training.epochs < old.epochs):
            training.begun = training.epochs
            if recipe.schedule in CYCLES and training.epochs:
                log.warning("after epoch %d the %s schedule begins a new cycle", training.epochs, recipe.schedule)
            if training.epochs:
                checkpoints.write(place, training.state())
    place.summary.unlink(missing_ok=True)
    write_json(place.run, run.as_dict())


def going_on(folder: RunFolder, recipe: Recipe, run: Run) -> str:
    """The command that goes on with a run, as it can be typed: with what is taken from no run folder.

    That are a loss, a transform and data of one's own and, as long as there is no checkpoint, the weights that it began
    with.
    """
    words = ["cnnatomy", "train", str(folder.design), "--out", str(folder.path), "--resume"]
    if run.parent and not has_checkpoint(folder):
        words += ["--start", run.parent]
    if run.source.startswith(OWN):
        words += ["--data", run.source]
    if recipe.loss.startswith(OWN):
        words += ["--loss", recipe.loss]
    if recipe.transform:
        words += ["--transform", recipe.transform]
    return shlex.join(words)


def remedy(recipe: Recipe, epochs: int, folder: RunFolder | None, run: Run) -> str:
    """What to do: advice that works from where a training is, with so many complete epochs."""
    fastest = max([1.0, *recipe.rates.values()])
    rate = f"{min(recipe.learning_rate / 10, USUAL[recipe.optimizer] / fastest):.3g}"
    clip = "" if recipe.clip else ", or limit the gradient, too: --set clip=1"
    if folder is None:
        return f"Begin again with a lower learning rate, such as learning_rate={rate}{clip.replace('--set ', '')}"
    whence = f"Go on after epoch {epochs}" if epochs else "Begin again"
    return f"{whence} with a lower learning rate{clip}:\n  {going_on(folder, recipe, run)} --learning-rate {rate}"


def was_over(training: Training, old: Recipe) -> bool:
    """Whether training had ended by the recipe that it had."""
    return training.epochs >= old.epochs or bool(old.patience and training.waited >= old.patience)


def _difference(old: Any, new: Any) -> tuple[str, str]:
    """The parts of two JSON values that differ, briefly."""
    if isinstance(old, dict) and isinstance(new, dict):
        keys = [key for key in {**old, **new} if old.get(key) != new.get(key)]
        was, now = (", ".join(f"{key} {_json(value.get(key))}" for key in keys) for value in (old, new))
        return was, now
    return _json(old), _json(new)


def _json(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
