"""What Lightning trains: a network, the normalisation of its data, and the loss."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor
from torch.nn import functional as F

from cnnatomy.data.augmentation import move
from cnnatomy.data.batches import Batches, mix
from cnnatomy.runs.classifier import Classifier
from cnnatomy.training.recipe import Recipe

BATCHES_AT_ONCE = 8
"""Batches that Lightning hands out at once. It does 0.5 ms of bookkeeping each time, a tenth of a step of LeNet-5."""
AUXILIARY_WEIGHT = 0.3
"""Of an auxiliary head's loss (Szegedy et al. 2014, section 5)."""


class Sums:
    """Loss, correct answers and images since an epoch, or its validation, began.

    Kept on the device: reading them waits for it. Apart from the module, whose attributes are slow to set.
    """

    def __init__(self) -> None:
        self.loss: Any = 0.0
        self.correct: Any = 0
        self.images = 0

    @torch.no_grad()
    def add(self, logits: Tensor, labels: Tensor, loss: Tensor) -> None:
        """Counts a batch with its mean loss."""
        self.correct += (logits.argmax(1) == labels).sum()
        self.loss += loss.detach() * len(labels)
        self.images += len(labels)

    def measured(self) -> tuple[float, float]:
        """Mean loss, and accuracy (0 .. 1)."""
        return float(self.loss) / max(self.images, 1), float(self.correct) / max(self.images, 1)


class Groups:
    """The batches of an epoch, `BATCHES_AT_ONCE` at a time."""

    def __init__(self, batches: Batches) -> None:
        self.batches = batches

    def __len__(self) -> int:
        return math.ceil(len(self.batches) / BATCHES_AT_ONCE)

    def __iter__(self) -> Iterator[list[tuple[Tensor, Tensor]]]:
        batches = iter(self.batches)
        while group := list(itertools.islice(batches, BATCHES_AT_ONCE)):
            yield group


class Training(pl.LightningModule):
    """Cross-entropy and SGD. Sums are kept on the device and read once an epoch; nothing is logged step by step.

    Everything random in an epoch (order, augmentation, dropout) follows from (seed, epoch), so that an interrupted
    epoch can be run again.
    """

    def __init__(self, classifier: Classifier, recipe: Recipe) -> None:
        super().__init__()
        self.classifier, self.recipe = classifier, recipe
        self.sums = Sums()
        self.steps = 0
        self.listeners: list[Callable[[Training, Tensor], None]] = []
        """Called after every step with this module and the loss."""
        self.automatic_optimization = False  # several steps in one training_step

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """SGD with momentum; the learning rate is cut by `epochs.EpochEnd`."""
        recipe = self.recipe
        parameters = [parameter for parameter in self.parameters() if parameter.requires_grad]
        return torch.optim.SGD(
            parameters, recipe.learning_rate, momentum=recipe.momentum, weight_decay=recipe.weight_decay, fused=True
        )

    def on_train_epoch_start(self) -> None:
        """Draws the order of this epoch, and seeds what is random in it."""
        groups = self.trainer.train_dataloader
        assert isinstance(groups, Groups)
        groups.batches.order.set_epoch(self.current_epoch)
        torch.manual_seed(mix(self.recipe.seed, self.current_epoch))
        self.sums, self.steps = Sums(), self.current_epoch * len(groups.batches)

    def loss(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        """The mean loss of a training batch; auxiliary heads count `AUXILIARY_WEIGHT` each."""
        images, labels = batch
        recipe = self.recipe
        if recipe.shift or recipe.rotation or recipe.scale:
            images = move(images.float(), recipe.shift, recipe.rotation, recipe.scale)
        logits, auxiliary = self.classifier.heads(self.classifier(images))
        loss = F.cross_entropy(logits, labels)
        self.sums.add(logits, labels, loss)
        for other in auxiliary:
            loss = loss + AUXILIARY_WEIGHT * F.cross_entropy(other, labels)
        return loss

    def training_step(self, group: list[tuple[Tensor, Tensor]], index: int) -> None:
        """A step downhill for every batch of the group."""
        (optimiser,) = self.trainer.optimizers
        for batch in group:
            loss = self.loss(batch)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            self.steps += 1
            for listener in self.listeners:
                listener(self, loss.detach())

    def on_validation_epoch_start(self) -> None:
        """Training's sums are read here, before validation makes its own."""
        self.train_loss, self.train_accuracy = self.sums.measured()
        self.sums = Sums()

    def validation_step(self, batch: tuple[Tensor, Tensor], index: int) -> None:
        """Adds a batch to the sums."""
        images, labels = batch
        logits, _ = self.classifier.heads(self.classifier(images))
        self.sums.add(logits, labels, F.cross_entropy(logits, labels))

    def on_validation_epoch_end(self) -> None:
        """Tells Lightning's early stopping the validation loss."""
        self.val_loss, self.val_accuracy = self.sums.measured()
        self.log("val_loss", self.val_loss)
