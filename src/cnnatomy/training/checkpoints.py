"""last.ckpt, before-last.ckpt and inside.ckpt: written whole, with a checksum, and read as data alone."""

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
    "best": Mapping,
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
    """Writes a state after an epoch as last.ckpt, whole or not at all; what that was is before-last.ckpt from then on.

    A state inside an epoch becomes inside.ckpt, so that there is one before it to go back to. Raises OSError where
    there is no space.
    """
    content = {"format": FORMAT, **state}
    content[CHECKSUM] = digest(content)
    path, before = (place.inside, None) if state["step_in_epoch"] else (place.last, place.before_last)
    try:
        write_whole(path, lambda file: torch.save(content, file), before)
    except RuntimeError as error:  # torch, closing its archive after a write that failed
        if isinstance(error.__context__, OSError):
            raise error.__context__ from None
        raise
    if path == place.last:
        forget_inside(place)


def forget_inside(place: RunFolder) -> None:
    """Removes the state inside an epoch: that epoch is complete, or was no good."""
    place.inside.unlink(missing_ok=True)


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
    return any(os.path.lexists(path) for path in (place.inside, place.last, place.before_last))


def latest(place: RunFolder) -> dict[str, Any] | None:
    """The state that is furthest; of broken checkpoints it says what it goes on from instead.

    Where last.ckpt is broken, before-last.ckpt takes its place. None where there is none.

    Raises:
        UserError: if there are some, and none can be used.
    """
    problems: list[str] = []
    inside, last = (_read_or_none(path, problems) for path in (place.inside, place.last))
    state, name = last, place.last.name
    if inside is not None and (last is None or inside["steps"] > last["steps"]):
        state, name = inside, place.inside.name
    if state is None and os.path.lexists(place.before_last):
        if not os.path.lexists(place.last):
            problems.append(f"{place.last} is missing")
        state, name = _read_or_none(place.before_last, problems), place.before_last.name
        if state is not None:
            os.replace(place.before_last, place.last)
    if state is None and problems:
        raise UserError("; ".join(problems) + ". Remove what is broken, and training begins again with epoch 1")
    if state is not None and problems:
        log.warning("%s; going on %s from %s", "; ".join(problems), reached(state), name)
    return state


def _read_or_none(path: Path, problems: list[str]) -> dict[str, Any] | None:
    """A checkpoint; None where there is none, or it is broken, which is added to `problems`."""
    if not os.path.lexists(path):
        return None
    try:
        return read(path)
    except UserError as error:
        problems.append(str(error))
        return None


def reached(state: Mapping[str, Any]) -> str:
    """How far a training was when a checkpoint was written."""
    epochs, step = len(state["rows"]), state["step_in_epoch"]
    return f"after epoch {epochs}" + (f" and {step} steps of the next" if step else "")
