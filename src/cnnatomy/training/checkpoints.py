"""last.ckpt and before-last.ckpt: written whole, with a checksum, and read as data alone."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from cnnatomy.errors import UserError
from cnnatomy.files import write_whole
from cnnatomy.runs import archives
from cnnatomy.runs.archives import digest
from cnnatomy.runs.folder import CHECKSUM, RunFolder

FORMAT = 2
"""Of a checkpoint; the first was Lightning's."""

KEYS: dict[str, type] = {
    "network": Mapping,
    "average": Mapping,
    "optimizers": list,
    "scaler": Mapping,
    "plateau": Mapping,
    "rows": list,
    "sums": Mapping,
    "steps": int,
    "step_in_epoch": int,
    "begun": int,
    "rate": float,
}
"""What `Training.state` gives, by type."""

log = logging.getLogger(__name__)


def write(place: RunFolder, state: Mapping[str, Any]) -> None:
    """Writes last.ckpt, whole or not at all; what it was is before-last.ckpt from then on.

    Raises OSError where there is no space.
    """
    content = {"format": FORMAT, **state}
    content[CHECKSUM] = digest(content)
    try:
        write_whole(place.last, lambda file: torch.save(content, file), place.before_last)
    except RuntimeError as error:  # torch, closing its archive after a write that failed
        if isinstance(error.__context__, OSError):
            raise error.__context__ from None
        raise


def read(path: Path) -> dict[str, Any]:
    """A checkpoint, every bit as it was written.

    Raises:
        UserError: if it is not, or cannot be read.
    """
    state = archives.read(path, "the state of the training")
    if not isinstance(state, dict):
        raise UserError(f"{path} is broken (it holds no checkpoint)")
    if "format" not in state and "pytorch-lightning_version" in state:
        raise UserError(
            f"{path} is that of an older cnnatomy, which trained by Lightning: begin again in another folder"
        )
    checksum = state.pop(CHECKSUM, None)
    if checksum is not None and checksum != digest(state):
        raise UserError(f"{path} is broken (checksum)")
    if state.pop("format", None) != FORMAT:
        raise UserError(f"{path} is no checkpoint of this cnnatomy (its format is not {FORMAT})")
    for name, kind in KEYS.items():
        if not isinstance(state.get(name), kind):
            raise UserError(f"{path} is broken (it has no {name})")
    if not all(isinstance(tensor, torch.Tensor) for tensor in state["network"].values()):
        raise UserError(f"{path} is broken (its network holds more than tensors)")
    return state


def has_checkpoint(place: RunFolder) -> bool:
    """Whether there is a state to go on from."""
    return any(os.path.lexists(path) for path in (place.last, place.before_last))


def latest(place: RunFolder) -> dict[str, Any] | None:
    """What last.ckpt holds; where that is broken, what before-last.ckpt holds, which then takes its place.

    None where there is none.

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
            log.warning("%s; going on %s from %s", problem, reached(state), path.name)
            os.replace(path, place.last)
        return state
    if problems:
        raise UserError("; ".join(problems) + ". Remove what is broken, and training begins again with epoch 1")
    return None


def reached(state: Mapping[str, Any]) -> str:
    """How far a training was when a checkpoint was written."""
    epochs, step = len(state["rows"]), state["step_in_epoch"]
    return f"after epoch {epochs}" + (f" and {step} steps of the next" if step else "")
