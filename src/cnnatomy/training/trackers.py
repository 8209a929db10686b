"""Other trackers of experiments (Weights & Biases, MLflow, Comet, ...), through the loggers of Lightning."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from cnnatomy.errors import UserError
from cnnatomy.runs.evaluation import quiet
from cnnatomy.runs.trained import Epoch
from cnnatomy.training import libraries
from cnnatomy.training.loop import Training
from cnnatomy.training.watching import STEPS_BETWEEN_POINTS, Watcher, points

if TYPE_CHECKING:
    from lightning.pytorch.loggers import Logger

log = logging.getLogger(__name__)

LOGGERS: dict[str, tuple[str, Callable[[Path], dict[str, Any]]]] = {
    "csv": ("CSVLogger", lambda run: {"save_dir": run, "name": "csv"}),
    "wandb": ("WandbLogger", lambda run: {"project": "cnnatomy", "name": run.name, "save_dir": run}),
    "mlflow": ("MLFlowLogger", lambda run: {"experiment_name": "cnnatomy", "run_name": run.name}),
    "comet": ("CometLogger", lambda run: {"project": "cnnatomy", "name": run.name}),
    "neptune": ("NeptuneLogger", lambda run: {"name": run.name}),
}
"""By name on the command line: Lightning's class, and what it is made with for a run folder. Keys, addresses and the
like are taken from where each tracker looks for them, mostly the environment."""


class Tracker(Watcher):
    """Tells any logger of Lightning of a training: the recipe, then the points of epochs and of every 50th step.

    A logger that fails while the network trains is left out from then on, with one warning.
    """

    def __init__(self, logger: Logger) -> None:
        self.logger = logger
        self._works = True

    def begin(self, training: Training) -> None:
        """Tells the recipe; raises `UserError` where the tracker cannot begin."""
        try:
            with quiet():
                self.logger.log_hyperparams(training.recipe.as_dict())
        except Exception as error:  # whatever the client of a tracker raises
            self._works = False
            raise _failed(type(self.logger).__name__, error) from error

    def step(self, training: Training, loss: Tensor) -> None:
        """Now and then the loss of a batch."""
        if training.steps % STEPS_BETWEEN_POINTS == 0:
            self._try(lambda: self.logger.log_metrics({"loss/batch": float(loss)}, training.steps))

    def epoch(self, training: Training, row: Epoch) -> None:
        """The points of an epoch."""
        self._try(lambda: self.logger.log_metrics(points(training, row), training.steps))
        self._try(self.logger.save)

    def end(self, training: Training) -> None:
        """Says whether training came to its end."""
        self._try(lambda: self.logger.finalize("success" if training.is_over else "aborted"))

    def _try(self, call: Callable[[], object]) -> None:
        if not self._works:
            return
        try:
            with quiet():
                call()
        except Exception as error:  # as above; it is no reason to lose a training
            self._works = False
            log.warning("%s; training goes on without it", _failed(type(self.logger).__name__, error))


def named(name: str, run: Path) -> Tracker:
    """The tracker that `--logger` names, for a run folder.

    Raises:
        UserError: if there is none of that name, or Lightning or the package of the tracker is missing.
    """
    kind, arguments = LOGGERS[name]
    try:
        (loggers,) = libraries.load("lightning.pytorch.loggers")
    except ImportError as error:
        raise UserError(f"--logger {name} needs lightning ({error}): pip install 'cnnatomy[trackers]'") from None
    if not hasattr(loggers, kind):
        raise UserError(f"--logger {name}: the installed lightning has no {kind}: choose another logger")
    try:
        with quiet():
            return Tracker(getattr(loggers, kind)(**arguments(run)))
    except Exception as error:  # a package that is missing, a key that is not set, ...
        raise _failed(f"--logger {name}", error) from error


def _failed(what: str, error: Exception) -> UserError:
    reason = " ".join(str(error).split())
    return UserError(f"{what} cannot be used: {type(error).__name__}: {reason}")
