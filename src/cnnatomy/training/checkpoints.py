"""last.ckpt and before-last.ckpt: written whole, with a checksum, and read as data alone."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO

from cnnatomy.errors import UserError
from cnnatomy.files import write_whole
from cnnatomy.runs import archives
from cnnatomy.runs.archives import digest
from cnnatomy.runs.folder import CHECKSUM, RunFolder

NETWORK = "classifier.network."
"""How the names of the network's tensors begin in a checkpoint."""

log = logging.getLogger(__name__)


class Checkpoints(TorchCheckpointIO):
    """Lightning's checkpoints, written whole or not at all, beside the one before."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """Raises OSError where there is no space."""
        place = Path(path)
        content = checkpoint | {CHECKSUM: digest(checkpoint)}
        try:
            write_whole(place, lambda file: torch.save(content, file), RunFolder(place.parent).before_last)
        except RuntimeError as error:  # torch, closing its archive after a write that failed
            if isinstance(error.__context__, OSError):
                raise error.__context__ from None
            raise

    def load_checkpoint(self, path: Any, *_: Any, **__: Any) -> dict[str, Any]:
        """See `read`."""
        return read(Path(path))


def read(path: Path) -> dict[str, Any]:
    """A checkpoint, every bit as it was written.

    Raises:
        UserError: if it is not, or cannot be read.
    """
    state = archives.read(path, "the state of the training")
    if not isinstance(state, dict):
        raise UserError(f"{path} is broken (it holds no checkpoint)")
    checksum = state.pop(CHECKSUM, None)
    if checksum is not None and checksum != digest(state):
        raise UserError(f"{path} is broken (checksum)")
    for name, kind in (("state_dict", Mapping), ("callbacks", Mapping), ("optimizer_states", list), ("epoch", int)):
        if not isinstance(state.get(name), kind):
            raise UserError(f"{path} is broken (it has no {name})")
    if not all(isinstance(tensor, torch.Tensor) for tensor in state["state_dict"].values()):
        raise UserError(f"{path} is broken (its state_dict holds more than tensors)")
    return state


def network_state(state: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """The network's tensors in a checkpoint, under their own names."""
    return {name.removeprefix(NETWORK): tensor for name, tensor in state["state_dict"].items()}


def has_checkpoint(place: RunFolder) -> bool:
    """Whether an epoch was completed in the folder."""
    return any(os.path.lexists(path) for path in (place.last, place.before_last))


def latest(place: RunFolder) -> dict[str, Any] | None:
    """What last.ckpt holds; where that is broken, what before-last.ckpt holds, which then takes its place.

    None where no epoch is complete.

    Raises:
        UserError: if neither can be used.
    """
    problems = []
    for path in (place.last, place.before_last):
        if not os.path.lexists(path):
            continue
        try:
            state = read(path)
        except UserError as error:
            problems.append(str(error))
            continue
        if path == place.before_last:
            problem = problems[0] if problems else f"{place.last} is missing"
            log.warning("%s; going on after epoch %d from %s", problem, state["epoch"] + 1, path.name)
            os.replace(path, place.last)
        return state
    if problems:
        raise UserError("; ".join(problems) + ". Remove what is broken, and training begins again with epoch 1")
    return None
