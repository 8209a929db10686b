"""`fit`: a network, a data set and a recipe become a trained network, and a run folder where one is wanted."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
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
from cnnatomy.runs.run import Run, keepable
from cnnatomy.runs.trained import Outcome, Trained
from cnnatomy.training.epochs import EpochEnd, WholeFiles
from cnnatomy.training.initialisation import initialise
from cnnatomy.training.recipes import Recipe
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
    network = keepable(design, data.shape) if place is not None else design
    parent = (start.name, "trained further") if start is not None else ()
    run = Run.of(network, data, recipe.as_dict(), *parent)
    remedy = "Then go on with --resume" if place is not None else ""
    with torch.random.fork_rng(), libraries.quiet(), _deterministic(chosen), writing_to(Path(folder or "."), remedy):
        classifier = _classifier(run, recipe, start)
        ends = EpochEnd(recipe, place, run.name)
        stopping = EarlyStopping("val_loss", patience=recipe.patience, check_finite=False, verbose=False)
        state = None
        if place is not None:
            if resume:
                state = _continue(place, run, classifier)
            else:
                run_folder.create(place, run)
        if state is None or not _complete(state, recipe):
            _train(Training(classifier, recipe), data, chosen, [stopping, ends, *watch], place if state else None)
        else:
            ends.load_state_dict(state["callbacks"][ends.state_key])
        assert ends.best is not None
        if place is not None:
            run_folder.read_weights(place.model, classifier.network, run.name)
        else:
            classifier.network.load_state_dict(ends.best_state)
        classifier.to(chosen).eval()
        test = evaluate(classifier, data.test.batches(EVALUATION_BATCH), data.classes)
        early = len(ends.rows) < recipe.epochs
        summary = _summary(run, data, chosen, ends, test)
        if place is not None:
            write_json(place.summary, summary)
    outcome = Outcome(tuple(ends.rows), ends.best, early, test, summary)
    return Trained(run, classifier, place.path if place is not None else None, outcome)


def _classifier(run: Run, recipe: Recipe, start: Trained | None) -> Classifier:
    torch.manual_seed(recipe.seed)
    module: nn.Module = run.network.build(run.shape)
    initialise(module, recipe.initialisation, recipe.bias)
    if start is not None:
        weights = start.network.state_dict()
        run_folder.check_weights(start.name, weights, module, run.name)
        module.load_state_dict(weights)
    classifier = Classifier(module, run.normalisation)
    classifier.check(run.shape, len(run.classes))
    return classifier


def _train(
    module: Training, data: Data, device: torch.device, callbacks: list[pl.Callback], resumed: RunFolder | None
) -> None:
    recipe = module.recipe
    trainer = pl.Trainer(
        accelerator="gpu" if device.type == "cuda" else "cpu",
        devices=1,
        max_epochs=recipe.epochs,
        callbacks=callbacks,
        plugins=[WholeFiles()],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
    )
    handler = signal.getsignal(signal.SIGINT)
    try:
        trainer.fit(
            module,
            Groups(data.train.batches(recipe.batch_size, recipe.seed)),
            data.val.batches(EVALUATION_BATCH),
            ckpt_path=resumed.last if resumed is not None else None,
            weights_only=True,
        )
    except SystemExit:  # what Lightning makes of Ctrl-C, with SIGINT ignored from then on
        raise KeyboardInterrupt from None
    finally:
        if signal.getsignal(signal.SIGINT) is not handler:
            signal.signal(signal.SIGINT, handler)


def _continue(place: RunFolder, run: Run, classifier: Classifier) -> dict[str, Any] | None:
    """What last.ckpt holds, or None where no epoch was completed; raises `UserError` where the run is another one."""
    _, before = run_folder.read_run(place.path)
    if before.network != run.network:
        raise UserError(f"{place.path} holds a run of another network, {before.name}: name another folder with --out")
    old, new = before.as_dict(), run.as_dict()
    for key in ("input", "classes", "normalisation", "data", "recipe", "parent", "change"):
        if old.get(key) != new.get(key):
            was, now = _difference(old.get(key), new.get(key))
            raise UserError(f"{place.path} was begun with {key} {was}, now {now}: give the same, or another --out")
    if not place.last.exists():
        return None
    try:
        state: dict[str, Any] = torch.load(place.last, map_location="cpu", weights_only=True)
        weights = state["state_dict"]
    except Exception as error:  # torch.load raises whatever a broken file leads it to
        raise UserError(f"{place.last} is broken ({type(error).__name__}): remove it to begin again") from None
    prefix = "classifier.network."
    tensors = {name.removeprefix(prefix): tensor for name, tensor in weights.items()}
    run_folder.check_weights(place.last, tensors, classifier.network, run.name)
    return state


def _difference(old: Any, new: Any) -> tuple[str, str]:
    """The parts of two JSON values that differ, briefly."""
    if isinstance(old, dict):
        keys = [key for key in old if old[key] != new.get(key)]
        return tuple(", ".join(f"{key} {value[key]}" for key in keys) for value in (old, new))  # type: ignore[return-value]
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
