"""The loop: step by step through the epochs, such that it can be left at any step and gone on with, bit for bit.

All that is random in a step (dropout, stochastic depth, mixing) follows from the seed and the number of the step, the
order of the images from the seed and the number of the epoch, and what happens to an image from both and the image. So
the state of a training is its weights, what its optimizers keep, its sums since the epoch began, and a few counts.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from cnnatomy.data.augmentation import Augmentation, Wanted, augmented, blended
from cnnatomy.data.augmentation.own import Transform
from cnnatomy.data.batches import Batches
from cnnatomy.data.seeds import mix
from cnnatomy.runs.evaluation import moved
from cnnatomy.runs.model import Model
from cnnatomy.runs.trained import Epoch
from cnnatomy.tasks.task import Criterion, Outputs, Target, Task
from cnnatomy.training import divergence, optimizers, schedules
from cnnatomy.training.divergence import DivergenceError
from cnnatomy.training.schema import Recipe
from cnnatomy.training.steps import Sums, frozen, has_gradients, in_float32, parts, seed, weighted
from cnnatomy.training.waiting import Waiting
from cnnatomy.training.watching import Watcher

LOOKS_EVERY = 50
"""Steps between two looks at whether the loss is a number, on a GPU: each waits until it has computed everything."""


@dataclass(frozen=True)
class Objective:
    """What is made small: the task, its loss in training, and the same as validation measures it."""

    task: Task
    criterion: Criterion
    plain: Criterion


class Training:
    """A network in training.

    Attributes:
        model: the network with its normalisation, as the optimizers change it.
        steps: those that are done, since the first.
        epochs: those that are complete, with their validation.
        rows: one for each of them.
        best_weights: of the best epoch, and its buffers; none before the first is complete.
        begun: the epoch after which the present cycle of the schedule began; 0 at first.
    """

    def __init__(
        self,
        model: Model,
        recipe: Recipe,
        objective: Objective,
        train: Batches,
        val: Batches | None,
        watchers: Sequence[Watcher] = (),
        transform: Transform | None = None,
    ) -> None:
        self.model, self.recipe, self.objective, self.train, self.val = model, recipe, objective, train, val
        self.watchers, self.transform = list(watchers), transform
        self.changes: Augmentation = replace(recipe, resized_crop=0.0) if train.order.cut else recipe
        self.device = model.mean.device
        self.optimizers = optimizers.make(recipe, model.network)
        self.plateau = schedules.Plateau(recipe.cut_patience)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=recipe.precision == "float16")
        self.average = AveragedModel(model, multi_avg_fn=self._averaged, use_buffers=True) if recipe.ema else None
        self._forward: Callable[[Tensor], Outputs] = torch.compile(model) if recipe.compile else model
        self.rows: list[Epoch] = []
        self.best_weights: dict[str, Tensor] = {}
        self.steps = self.begun = 0
        self.rate = recipe.learning_rate
        self.sums = Sums()
        self.step_in_epoch = 0

    @property
    def epochs(self) -> int:
        """Complete epochs."""
        return len(self.rows)

    @property
    def steps_per_epoch(self) -> int:
        """How many make an epoch."""
        return len(self.train)

    @property
    def total(self) -> int:
        """Steps of the whole training, early stopping aside."""
        return max(1, round(self.recipe.epochs * self.steps_per_epoch))

    @property
    def evaluated(self) -> Model:
        """The network that is validated and kept: the average of the weights where there is one."""
        if self.average is None:
            return self.model
        averaged: Model = self.average.module  # type: ignore[assignment]
        return averaged

    @property
    def best(self) -> Epoch | None:
        """The epoch with the lowest validation loss, the first of equals; the last where nothing is validated."""
        if self.val is None:
            return self.rows[-1] if self.rows else None
        return min(self.rows, key=lambda row: row.val_loss, default=None)

    @property
    def waited(self) -> int:
        """Epochs without a lower validation loss, in the present cycle."""
        return self.epochs - max(self.best.epoch if self.best else 0, self.begun)

    @property
    def stopped_early(self) -> bool:
        """Whether patience ended it before the last epoch."""
        return self.epochs < math.ceil(self.recipe.epochs)

    @property
    def is_over(self) -> bool:
        """Whether all epochs are done, or patience is at an end."""
        return self.epochs >= math.ceil(self.recipe.epochs) or bool(
            self.recipe.patience and self.waited >= self.recipe.patience
        )

    def run(self, epoch_done: Callable[[Epoch], None], between: Callable[[], None]) -> None:
        """Trains until it is over; `epoch_done` keeps what is to be kept, `between` is called after every step.

        Raises:
            DivergenceError: if the loss is no number any more, with the layer at which that began.
        """
        try:
            for watcher in self.watchers:
                watcher.begin(self)
            while not self.is_over:
                self._epoch(between)
                row = self._validated()
                self.rows.append(row)
                if self.best is row:
                    weights = self.evaluated.network.state_dict()
                    self.best_weights = {name: tensor.detach().to("cpu", copy=True) for name, tensor in weights.items()}
                self.step_in_epoch, self.sums = 0, Sums()
                self.plateau.step(row.train_loss if self.val is None else row.val_loss)
                epoch_done(row)
                for watcher in self.watchers:
                    watcher.epoch(self, row)
        finally:
            for watcher in self.watchers:
                watcher.end(self)

    def _epoch(self, between: Callable[[], None]) -> None:
        self.train.order.set_epoch(self.epochs, self.step_in_epoch)
        self._set_training()
        self._started, seen = time.perf_counter(), self.sums.images
        self._waiting = Waiting(self.device)
        for images, target, seeds in self._waiting.over(self.train.drawn()):
            self._step(images, target, seeds)
            if self.step_in_epoch < self.steps_per_epoch and self.steps < self.total:
                between()
            elif self.steps >= self.total:
                break
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        self._speed = (self.sums.images - seen) / max(time.perf_counter() - self._started, 1e-9)

    def _set_training(self) -> None:
        """Training mode, and which parts are frozen in this epoch: those compute as they do in evaluation."""
        self.model.train()
        for parameter in self.model.network.parameters():
            parameter.requires_grad_(True)
        for part in frozen(self.model.network, self.recipe, self.epochs):
            part.eval().requires_grad_(False)

    def _step(self, images: Tensor, target: Target, seeds: Tensor) -> None:
        recipe = self.recipe
        seed(mix(recipe.seed, self.steps), self.device)
        rate = schedules.rate(
            recipe, self.steps / self.steps_per_epoch, self.steps_per_epoch, self.plateau.cuts, self.begun
        )
        optimizers.set_rate(self.optimizers, rate)
        self.rate = rate
        for optimizer in self.optimizers:
            optimizer.zero_grad()
        images, target = images.to(self.device, non_blocking=True), moved(target, self.device)
        images, target = augmented(images, target, seeds, self.changes, self.objective.task, self.transform)
        images, wanted = blended(images, target, recipe, recipe.seed, self.steps)
        total: Any = 0.0
        for part, goals in parts(images, wanted, recipe.accumulate):
            share = len(part) / len(images)
            loss, score = self._loss(part, goals)
            loss_of_batch = loss * share if share < 1 else loss
            self.scaler.scale(loss_of_batch).backward()
            self.sums.add(loss, score, len(part))
            total = loss_of_batch.detach() + total if share < 1 else loss.detach()
        if self.device.type == "cpu" or self.steps % LOOKS_EVERY == 0:
            self._check(total, images)
        stepping = [one for one in self.optimizers if has_gradients(one)]  # of what is frozen, nothing has any
        for optimizer in stepping:
            self.scaler.unscale_(optimizer)
        for watcher in self.watchers:
            watcher.before_step(self)
        if recipe.clip:
            nn.utils.clip_grad_norm_(self.model.network.parameters(), recipe.clip)
        for optimizer in stepping:
            self.scaler.step(optimizer)
        self.scaler.update()
        if self.average is not None:
            self.average.update_parameters(self.model)
        self.steps += 1
        self.step_in_epoch += 1
        for watcher in self.watchers:
            watcher.step(self, total)

    def _averaged(self, averages: Any, weights: Any, count: Any) -> None:
        """Moves the average towards the weights: the faster, the fewer steps there were, or it would be of their start.

        As in TensorFlow's ExponentialMovingAverage with `num_updates`.
        """
        decay = min(self.recipe.ema, (1 + self.steps) / (10 + self.steps))
        get_ema_multi_avg_fn(decay)(averages, weights, count)

    def _loss(self, images: Tensor, wanted: Sequence[Wanted]) -> tuple[Tensor, Tensor]:
        """The mean loss with all that is added to it, and the sum of the scores."""
        recipe, task, criterion = self.recipe, self.objective.task, self.objective.criterion
        if recipe.memory_format == "channels_last":
            images = images.to(memory_format=torch.channels_last)
        with self._precision():
            outputs, auxiliary = self.model.heads(self._forward(images))
            outputs, auxiliary = in_float32(outputs), [in_float32(other) for other in auxiliary]
        loss = weighted(wanted, lambda target: task.loss(outputs, target, criterion))
        score = weighted(wanted, lambda target: task.score(outputs, target))
        for heads in auxiliary:
            loss = loss + recipe.auxiliary_weight * weighted(wanted, partial(task.loss, heads, criterion=criterion))
        if recipe.l1:
            loss = loss + recipe.l1 * optimizers.l1_penalty(self.model.network)
        return loss, score

    def _precision(self) -> contextlib.AbstractContextManager[Any]:
        if self.recipe.precision == "float32":
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, getattr(torch, self.recipe.precision))

    def _check(self, loss: Tensor, images: Tensor) -> None:
        """Raises `DivergenceError` where the loss is no number, naming the layer at which it began."""
        if not math.isfinite(float(loss)):
            seed(mix(self.recipe.seed, self.steps), self.device)
            cut = parts(images, (), self.recipe.accumulate)
            with self._precision():
                where = divergence.first(self.model, [part for part, _ in cut])
            raise DivergenceError(
                f"training diverged in epoch {self.epochs + 1}, batch {self.step_in_epoch + 1} (step {self.steps + 1}):"
                f" the loss is {float(loss):g}; {where}"
            )

    def _validated(self) -> Epoch:
        """The row of the epoch whose steps are done."""
        (train_loss, train_score), (loss, score) = self.sums.measured(), self._validation()
        if not math.isfinite(train_loss) or (self.val is not None and not math.isfinite(loss)):
            with self._precision():
                batches = (images.to(self.device) for images, _ in self.val or self.train)
                where = divergence.first(self.evaluated.eval(), batches, "batch")
            raise DivergenceError(
                f"training diverged in epoch {self.epochs + 1}: the loss is {train_loss:g} in training, {loss:g} in"
                f" validation; {where}"
            )
        self.check_weights()
        return Epoch(
            epoch=self.epochs + 1,
            learning_rate=self.rate,
            train_loss=train_loss,
            train_score=train_score,
            val_loss=loss,
            val_score=score,
            images_per_second=self._speed,
            seconds=time.perf_counter() - self._started,
            waiting=self._waiting.seconds,
        )

    def check_weights(self) -> None:
        """Raises `DivergenceError` where a weight is no number any more: the loss of the next step would be none."""
        for name, tensor in self.model.network.state_dict().items():
            if not tensor.isfinite().all():
                raise DivergenceError(
                    f"training diverged in epoch {self.epochs + 1}, batch {self.step_in_epoch} (step {self.steps}):"
                    f" after it {name} is no number any more"
                )

    def _validation(self) -> tuple[float, float]:
        """Mean loss and score on the validation split; nan where there is none."""
        if self.val is None:
            return math.nan, math.nan
        model, objective, sums = self.evaluated, self.objective, Sums()
        model.eval()
        with torch.inference_mode(), self._precision():
            for images, given in self._waiting.over(self.val):
                target = moved(given, self.device)
                outputs, _ = model.heads(model(images))
                outputs = in_float32(outputs)
                loss = objective.task.loss(outputs, target, objective.plain)
                sums.add(loss, objective.task.score(outputs, target), len(images))
                for watcher in self.watchers:
                    watcher.validated(self, images, outputs, target)
        return sums.measured()

    def state(self) -> dict[str, Any]:
        """Everything that the next step depends on."""
        return {
            "network": self.model.network.state_dict(),
            "average": self.average.state_dict() if self.average is not None else {},
            "best": self.best_weights,
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "scaler": self.scaler.state_dict(),
            "plateau": self.plateau.state_dict(),
            "rows": [vars(row) for row in self.rows],
            "sums": self.sums.state(),
            "steps": self.steps,
            "step_in_epoch": self.step_in_epoch,
            "begun": self.begun,
            "rate": self.rate,
            "threads": torch.get_num_threads(),
        }

    def load(self, state: dict[str, Any]) -> None:
        """What `state` gave."""
        self.model.network.load_state_dict(state["network"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        self.best_weights = dict(state["best"])
        for optimizer, kept in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(kept)
        self.scaler.load_state_dict(state["scaler"])
        self.plateau.load_state_dict(state["plateau"])
        self.rows = [Epoch(**row) for row in state["rows"]]
        self.sums = Sums.of(state["sums"])
        self.steps, self.step_in_epoch = state["steps"], state["step_in_epoch"]
        self.begun, self.rate = state["begun"], state["rate"]
