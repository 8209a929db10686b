"""`fit`: a network, a data set and a recipe become a trained network, and a run folder where one is wanted."""

from __future__ import annotations

import math
import os
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import EarlyStopping
from torch import nn

from cnnatomy import machine
from cnnatomy.data import Data
from cnnatomy.design.network import Design
from cnnatomy.errors import UserError
from cnnatomy.files import write_json, writing_to
from cnnatomy.machine import choose_device
from cnnatomy.runs import folder as run_folder
from cnnatomy.runs import libraries
from cnnatomy.runs.classifier import Classifier
from cnnatomy.runs.evaluation import EVALUATION_BATCH, Evaluation, evaluate
from cnnatomy.runs.folder import RunFolder
from cnnatomy.runs.memory import out_of_memory
from cnnatomy.runs.run import Run, check_head, keepable
from cnnatomy.runs.trained import Outcome, Trained
from cnnatomy.training import checkpoints
from cnnatomy.training.checkpoints import Checkpoints, has_checkpoint
from cnnatomy.training.epochs import EpochEnd
from cnnatomy.training.initialisation import initialise
from cnnatomy.training.memory import check_step
from cnnatomy.training.recipe import Recipe
from cnnatomy.training.task import Groups, Training


def fit(
    design: Design,
    data: Data,
    recipe: Recipe,
    folder: str | Path | None = None,
    *,
    resume: bool = False,
    start: Trained | None = None,
    device: str = "auto",
    watch: Sequence[pl.Callback] = (),
) -> Trained:
    """Trains `design` on the training split, choosing on validation, and evaluates the best epoch once on test.

    With `folder` the run is kept there, and an interrupted one goes on with `resume`: the weights are then those of
    an uninterrupted run. With `start` the weights begin as those of another training of the same network, which is
    written into the run as its parent. `device` is `auto`, `cpu` or `cuda`; `watch` are further Lightning callbacks.

    Raises:
        UserError: where the folder exists or holds another run, the network cannot be kept there, `start` is another
            network, there is no space, or the loss is no longer a number.
        KeyboardInterrupt: after Ctrl-C, with everything up to the last complete epoch kept.
    """
    chosen = choose_device(device)
    place = RunFolder(Path(folder)) if folder is not None else None
    if place is not None and not resume:
        run_folder.check_free(place)
    network = keepable(design, data.shape) if place is not None else design
    parent = (start.name, "trained further") if start is not None else ()
    run = Run.of(network, data, recipe.as_dict(), *parent)
    if place is not None and resume:
        run = _resumed(place, run, start)
    remedy = "Then go on with --resume" if place is not None else ""
    with ExitStack() as stack:
        stack.enter_context(_surroundings(run.name, chosen, Path(folder or "."), remedy))
        check_step(run.network, run.shape, min(recipe.batch_size, len(data.train)), chosen)
        classifier = _classifier(run, recipe, start)
        ends = EpochEnd(recipe, place, run.name)
        state = None
        if place is not None:
            stack.enter_context(run_folder.locked(place))
            if resume:
                state = _state(place, run, classifier, start)
            else:
                run_folder.create(place, run)
        if state is None or not _complete(state, recipe):
            _train(Training(classifier, recipe), data, chosen, ends, watch, state is not None)
        else:
            ends.load_state_dict(state["callbacks"].get(ends.state_key, {}))
        assert ends.best is not None
        if place is not None:
            run_folder.read_weights(place.model, classifier.network, run.name)
        else:
            classifier.network.load_state_dict(ends.best_state)
        classifier.to(chosen).eval()
        test = evaluate(classifier, data.test.batches(EVALUATION_BATCH), data.classes)
        summary = _summary(run, data, chosen, ends, test)
        if place is not None:
            write_json(place.summary, summary)
    outcome = Outcome(tuple(ends.rows), ends.best, summary["training"]["stopped_early"], test, summary)
    return Trained(run, classifier, place.path if place is not None else None, outcome)


@contextmanager
def _surroundings(name: str, device: torch.device, folder: Path, remedy: str) -> Iterator[None]:
    """Meanwhile random numbers are the training's own, algorithms deterministic, libraries quiet, and errors told."""
    with (
        torch.random.fork_rng(),
        libraries.quiet(),
        _deterministic(device),
        out_of_memory(name),
        writing_to(folder, remedy),
    ):
        yield


def _classifier(run: Run, recipe: Recipe, start: Trained | None) -> Classifier:
    check_head(run.network, run.network.graph(run.shape), run.classes, run.source)
    torch.manual_seed(recipe.seed)
    module: nn.Module = run.network.build(run.shape)
    if not any(parameter.requires_grad for parameter in module.parameters()):
        raise UserError(f"{run.name} has no parameters, so there is nothing to train: add layers with weights")
    initialise(module, recipe.initialisation, recipe.bias)
    if start is not None:
        weights = start.network.state_dict()
        run_folder.check_weights(start.name, weights, module, run.name)
        module.load_state_dict(weights)
    return Classifier(module, run.normalisation)


def _train(
    module: Training, data: Data, device: torch.device, ends: EpochEnd, watch: Sequence[pl.Callback], resume: bool
) -> None:
    recipe = module.recipe
    stopping = EarlyStopping("val_loss", patience=recipe.patience, check_finite=False, verbose=False)
    trainer = pl.Trainer(
        accelerator="gpu" if device.type == "cuda" else "cpu",
        devices=1,
        max_epochs=math.ceil(recipe.epochs),
        callbacks=[stopping, ends, *watch],
        plugins=[Checkpoints()],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
    )
    last = ends.folder.last if resume and ends.folder is not None else None
    handler = signal.getsignal(signal.SIGINT)
    try:
        trainer.fit(
            module,
            Groups(data.train.batches(recipe.batch_size, recipe.seed)),
            data.val.batches(EVALUATION_BATCH),
            ckpt_path=last,
            weights_only=True,
        )
    except SystemExit:  # what Lightning makes of Ctrl-C, with SIGINT ignored from then on
        raise KeyboardInterrupt from None
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        if last is None or ends.began:
            raise
        # sound, but not the state of such a training: of another version of Lightning, or made by hand
        raise UserError(f"{last}: training cannot go on from it ({type(error).__name__}: {error})") from None
    finally:
        if signal.getsignal(signal.SIGINT) is not handler:
            signal.signal(signal.SIGINT, handler)


def _resumed(place: RunFolder, run: Run, start: Trained | None) -> Run:
    """The run that is gone on with; raises `UserError` where that in the folder is another one, or cannot go on."""
    _, before = run_folder.read_run(place.path)
    check_resumable(place, before)
    if start is None:  # the weights that it began with are in the checkpoint
        run = replace(run, parent=before.parent, change=before.change)
    check_classes(place.path, before, run.classes, run.source)
    check_network(place.path, before, run.network)
    old, new = replace(before, recipe=Recipe.of(before).as_dict()).as_dict(), run.as_dict()
    for key in ("input", "data", "normalisation", "recipe", "parent", "change"):
        if old.get(key) != new.get(key):
            was, now = _difference(old.get(key), new.get(key))
            raise UserError(f"{place.path} was begun with {key} {was}, now {now}: give the same, or another folder")
    return run


def check_resumable(place: RunFolder, before: Run) -> None:
    """Raises `UserError` where no training was begun in the folder: only weights are there."""
    if not before.recipe or (before.parent and place.model.exists() and not has_checkpoint(place)):
        origin = f"made from {before.parent} ({before.change})" if before.parent else before.source
        raise UserError(
            f"{place.path} holds weights without a training to go on with: {origin}. To train them further,"
            f" in Python: fit(design, data, recipe, another_folder, start=Trained.load({str(place.path)!r}))"
        )


def check_network(path: Path, before: Run, network: Design) -> None:
    """Raises `UserError` where a run is gone on with as another network than it was begun as."""
    if before.network != network:
        raise UserError(f"{path} holds a run of another network, {before.name}: name another folder")


def check_classes(path: Path, before: Run, classes: tuple[str, ...], source: str) -> None:
    """Raises `UserError` where a run is gone on with on other classes than it was begun on."""
    if before.classes != classes:
        was, now = (", ".join(names[:8]) + (", ..." if len(names) > 8 else "") for names in (before.classes, classes))
        raise UserError(
            f"{path} was begun on {len(before.classes)} classes ({was}), but {source} has {len(classes)} ({now}):"
            " give the same data, or another folder"
        )


def _state(place: RunFolder, run: Run, classifier: Classifier, start: Trained | None) -> dict[str, Any] | None:
    """What last.ckpt holds, or None where no epoch was completed; raises `UserError` where it is another network's."""
    state = checkpoints.latest(place)
    if state is not None:
        run_folder.check_weights(place.last, checkpoints.network_state(state), classifier.network, run.name)
    elif run.parent and start is None:
        raise UserError(
            f"{place.path} began with the weights of {run.parent}, and no epoch is complete. To begin again, remove it"
            f" and, in Python: fit(design, data, recipe, {str(place.path)!r}, start=Trained.load({run.parent!r}))"
        )
    return state


def _difference(old: Any, new: Any) -> tuple[str, str]:
    """The parts of two JSON values that differ, briefly."""
    if isinstance(old, dict) and isinstance(new, dict):
        keys = [key for key in {**old, **new} if old.get(key) != new.get(key)]
        was, now = (", ".join(f"{key} {value.get(key, 'none')}" for key in keys) for value in (old, new))
        return was, now
    return str(old), str(new)


def _complete(state: dict[str, Any], recipe: Recipe) -> bool:
    """Whether training had ended, and only the evaluation is missing."""
    waits = [value["wait_count"] for value in state["callbacks"].values() if "wait_count" in value]
    return state["epoch"] + 1 >= recipe.epochs or any(count >= recipe.patience for count in waits)


def _summary(run: Run, data: Data, device: torch.device, ends: EpochEnd, test: Evaluation) -> dict[str, Any]:
    assert ends.best is not None
    report, rows = data.report, ends.rows
    record = run.as_dict()
    record["data"] |= {
        "splits": data.describe()["splits"],
        "counts": report.counts,
        "skipped": [{"file": name, "reason": reason} for name, reason in report.skipped],
        "ignored": report.ignored,
        "duplicates": report.duplicates,
        "left_out": report.left_out,
        "conflicts": report.conflicts,
    }
    training = {
        "epochs": len(rows),
        "best_epoch": ends.best.epoch,
        "stopped_early": len(rows) < run.recipe["epochs"],
        "seconds": sum(row.seconds for row in rows),
        "images_per_second": sum(row.images_per_second for row in rows) / len(rows),
        "val_loss": ends.best.val_loss,
        "val_accuracy": ends.best.val_accuracy,
    }
    return record | {
        "training": training,
        "test": test.as_dict(),
        "machine": machine.describe(device),
        "versions": machine.versions(*PACKAGES),
        "finished": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }


PACKAGES = ("cnnatomy", "torch", "lightning", "torchmetrics", "numpy", "pillow", "scikit-learn")
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
