"""The run folder: everything one training leaves, enough to go on with it and to predict.

design.yaml         the network
run.json            how it is trained: data, normalisation, recipe
model.safetensors   the weights of the best epoch
last.ckpt           the state after the last complete epoch, to go on from
before-last.ckpt    the same of the epoch before, should last.ckpt break
inside.ckpt         a state inside the epoch that was not complete yet
metrics.csv         one row an epoch
layers.csv          for each layer with weights its gradient and its change, by epoch
tensorboard/        all of that as curves, and more, for `tensorboard --logdir`
summary.json        the result; it exists when the run is complete
.lock               held by the process that trains in the folder; it means nothing once that has ended
"""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import nn

from cnnatomy.errors import UserError, shown
from cnnatomy.files import read_bytes, read_text, write_json, write_text, write_whole, writing_to
from cnnatomy.limits import MAX_DESIGN_BYTES, MAX_RECORD_BYTES, MAX_WEIGHTS_BYTES
from cnnatomy.readers import RUN_DESIGN, RUN_RECORD, STORED
from cnnatomy.readers.yaml import listed
from cnnatomy.runs.archives import digest
from cnnatomy.runs.run import FORMAT, Run, field


@dataclass(frozen=True)
class RunFolder:
    """The paths of a run folder."""

    path: Path

    @property
    def design(self) -> Path:
        """The network as YAML."""
        return self.path / RUN_DESIGN

    @property
    def run(self) -> Path:
        """Data, normalisation and recipe."""
        return self.path / RUN_RECORD

    @property
    def model(self) -> Path:
        """The weights of the best epoch."""
        return self.path / "model.safetensors"

    @property
    def last(self) -> Path:
        """The state after the last complete epoch."""
        return self.path / "last.ckpt"

    @property
    def before_last(self) -> Path:
        """The state after the complete epoch before that."""
        return self.path / "before-last.ckpt"

    @property
    def inside(self) -> Path:
        """A state inside the epoch after that of `last`."""
        return self.path / "inside.ckpt"

    @property
    def lock(self) -> Path:
        """Locked while a process trains in the folder."""
        return self.path / ".lock"

    @property
    def metrics(self) -> Path:
        """One row an epoch."""
        return self.path / "metrics.csv"

    @property
    def layers(self) -> Path:
        """A row for each layer with weights and each epoch."""
        return self.path / "layers.csv"

    @property
    def tensorboard(self) -> Path:
        """Event files."""
        return self.path / "tensorboard"

    @property
    def summary(self) -> Path:
        """The result of a complete run."""
        return self.path / "summary.json"


NEW_NAME = "name another folder, or remove it"
"""What to do about a run that exists, in any command and in Python."""


def check_free(folder: RunFolder, remedy: str = NEW_NAME) -> None:
    """Raises `UserError` where the folder exists with something in it; `remedy` is what to do where that is a run."""
    if folder.path.is_dir():
        names = {entry.name for entry in folder.path.iterdir()}
        if not names or (folder.lock.name in names and all(map(_is_of_making, names))):
            return
    elif not os.path.lexists(folder.path):
        return
    check_idle(folder)
    raise UserError(f"{folder.path} exists already: {remedy if is_run(folder) else 'name another folder'}")


def _is_of_making(name: str) -> bool:
    """Whether a file is the lock, or one that a `create` that was killed leaves."""
    return name in (".lock", RUN_DESIGN) or (name.startswith(".") and name.endswith(".part"))


def check_idle(folder: RunFolder) -> None:
    """Raises the `UserError` of `locked` before any work is done."""
    if folder.lock.is_file():
        with suppress(OSError), locked(folder):  # one that cannot be written to is found out later, with a reason
            pass


@contextmanager
def locked(folder: RunFolder) -> Iterator[None]:
    """Makes the folder where there is none, and keeps other processes from training in it; nobody is kept from reading.

    The lock is the system's, so it ends with the process, however that ends. A folder in which nothing was made is
    removed again.

    Raises:
        UserError: if another process is training in it. OSError where there can be no such folder.
    """
    from filelock import FileLock, Timeout

    made = not folder.path.exists()
    folder.path.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder.lock, timeout=0):
            try:
                yield
            finally:
                if made and all(entry == folder.lock for entry in folder.path.iterdir()):
                    folder.lock.unlink()
                    folder.path.rmdir()
    except Timeout:
        raise UserError(
            f"{folder.path}: another process is training in it. Wait until it has ended, or name another folder"
        ) from None


def create(folder: RunFolder, run: Run, remedy: str = NEW_NAME) -> None:
    """Makes the folder with design.yaml and run.json in it; raises `UserError` where it exists or cannot be made."""
    with writing_to(folder.path):
        check_free(folder, remedy)
        made = not folder.path.exists()
        folder.path.mkdir(parents=True, exist_ok=True)
        try:
            write_text(folder.design, listed.write(run.network))
            write_json(folder.run, run.as_dict())
        except BaseException:  # nothing half made is left in the way of the next try
            folder.design.unlink(missing_ok=True)
            folder.run.unlink(missing_ok=True)
            if made:
                folder.path.rmdir()
            raise


def is_run(folder: RunFolder) -> bool:
    """Whether the folder holds a run."""
    return folder.run.exists()


def is_complete(folder: RunFolder) -> bool:
    """Whether training has ended and its result is there; raises `UserError` where summary.json is broken."""
    if not os.path.lexists(folder.summary):
        return False
    field(read_json(folder.summary, "the result"), "training", dict[str, Any], folder.summary)
    return True


def read_run(path: str | Path) -> tuple[RunFolder, Run]:
    """The run in a folder; raises `UserError` naming the file, and the key, that is missing or broken."""
    folder = RunFolder(Path(path))
    if not is_run(folder):
        problem = f"is not a run folder (it has no {RUN_RECORD})" if folder.path.is_dir() else "does not exist"
        if folder.path.suffix.lower() == STORED:
            made = f"`cnnatomy weights {shlex.quote(str(path))} --run runs/{shlex.quote(folder.path.stem)}`"
            raise UserError(f"{path} is no run folder. One with the network and the weights of an ONNX file: {made}")
        raise UserError(f"{path} {problem}. Runs are made by `cnnatomy train ... --out {path}`")
    record = read_json(folder.run, "the run")
    version = field(record, "format", int, folder.run)
    if version > FORMAT:
        raise UserError(f"{folder.run} was written by a newer cnnatomy: its format is {shown(version)}, not {FORMAT}")
    if version < 1:
        raise UserError(f"{folder.run}: format: expected {FORMAT}, got {shown(version)}")
    network = listed.read(read_text(folder.design, MAX_DESIGN_BYTES, "the design"), str(folder.design))
    return folder, Run.from_dict(record, network, folder.run)


def read_json(path: Path, what: str) -> Any:
    """A JSON file that cnnatomy wrote, `what` it should be for messages; raises `UserError` where it cannot be read."""
    text = read_text(path, MAX_RECORD_BYTES, what)
    try:
        return json.loads(text)
    except RecursionError:
        raise UserError(f"{path} is nested too deeply for {what}") from None
    except ValueError as error:
        raise UserError(f"{path} is not JSON ({error})") from None


CHECKSUM = "sha256"
"""Where a file of weights, or a checkpoint, keeps the `archives.digest` of everything else in it."""

ABOUT = "cnnatomy"
"""Of the metadata of a file of weights, what cnnatomy keeps there: JSON with the network's name and the checksum."""


def write_weights(path: Path, state: Mapping[str, torch.Tensor], network: str) -> None:
    """Parameters and buffers as safetensors, under their names in the module, with a checksum of them."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    about = json.dumps({"network": network, CHECKSUM: _checksum(tensors)})
    # one entry: safetensors writes several in any order, and equal weights are to be equal files
    write_whole(path, lambda file: file.write(save(tensors, {ABOUT: about})))


def _checksum(tensors: Mapping[str, torch.Tensor]) -> str:
    return digest(dict(sorted(tensors.items())))


def read_weights(path: Path, module: nn.Module, network: str) -> None:
    """Loads what `write_weights` wrote; raises `UserError` where the file is broken or belongs to another network.

    A file without a checksum is read, too; one with numbers that are not finite is not.
    """
    if not os.path.lexists(path):
        raise UserError(f"{path} is missing: no epoch was completed. Go on with `cnnatomy train ... --resume`")
    content = read_bytes(path, MAX_WEIGHTS_BYTES, "the weights")
    try:
        tensors = load(content)
    except (SafetensorError, ValueError, KeyError) as error:  # KeyError: a type of numbers that torch has not
        raise UserError(f"{path} is broken or not a safetensors file ({error})") from None
    length = int.from_bytes(content[:8], "little")
    about = (json.loads(content[8 : 8 + length]).get("__metadata__") or {}).get(ABOUT)
    if about is not None and f'"{CHECKSUM}": "{_checksum(tensors)}"' not in about:
        raise UserError(f"{path} is broken (checksum): its weights are not those that were written")
    check_weights(path, tensors, module, network)
    check_finite(path, tensors)
    module.load_state_dict(tensors)


def check_finite(source: str | Path, tensors: Mapping[str, torch.Tensor]) -> None:
    """Raises `UserError` naming the first tensor with a number that is not finite."""
    for name, tensor in tensors.items():
        wrong = ~tensor.isfinite() if tensor.is_floating_point() else torch.zeros(0, dtype=torch.bool)
        if wrong.any():
            count = f"{int(wrong.sum()):,} of {tensor.numel():,}"
            raise UserError(f"{source}: {name}: {count} numbers are not finite, such as {float(tensor[wrong][0]):g}")


def check_weights(source: str | Path, tensors: Mapping[str, torch.Tensor], module: nn.Module, network: str) -> None:
    """Raises `UserError` naming the first tensor that `module` lacks, has not, or has in another shape."""
    wanted = module.state_dict()
    for name in [*wanted, *tensors]:
        found = "none" if name not in tensors else " x ".join(map(str, tensors[name].shape)) or "a number"
        needed = "none" if name not in wanted else " x ".join(map(str, wanted[name].shape)) or "a number"
        if found != needed:
            raise UserError(
                f"{source} holds weights of another network than {network}: {name} is {found}, expected {needed}"
            )
