"""The run folder: everything one training leaves, enough to go on with it and to predict.

design.yaml         the network
run.json            how it is trained: data, normalisation, recipe
model.safetensors   the weights of the best epoch
last.ckpt           the state after the last complete epoch, to go on from
metrics.csv         one row an epoch
tensorboard/        the same and the loss in between, for `tensorboard --logdir`
summary.json        the result; it exists when the run is complete
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import nn

from cnnatomy.errors import UserError
from cnnatomy.files import write_json, write_text, write_whole, writing_to
from cnnatomy.readers.yaml import listed
from cnnatomy.runs.run import FORMAT, Run


@dataclass(frozen=True)
class RunFolder:
    """The paths of a run folder."""

    path: Path

    @property
    def design(self) -> Path:
        """The network as YAML."""
        return self.path / "design.yaml"

    @property
    def run(self) -> Path:
        """Data, normalisation and recipe."""
        return self.path / "run.json"

    @property
    def model(self) -> Path:
        """The weights of the best epoch."""
        return self.path / "model.safetensors"

    @property
    def last(self) -> Path:
        """The state after the last complete epoch."""
        return self.path / "last.ckpt"

    @property
    def metrics(self) -> Path:
        """One row an epoch."""
        return self.path / "metrics.csv"

    @property
    def tensorboard(self) -> Path:
        """Event files."""
        return self.path / "tensorboard"

    @property
    def summary(self) -> Path:
        """The result of a complete run."""
        return self.path / "summary.json"


def check_free(folder: RunFolder) -> None:
    """Raises `UserError` where the folder exists with something in it."""
    if folder.path.exists() and (not folder.path.is_dir() or any(folder.path.iterdir())):
        hint = "add --resume to go on with it, or name another one with --out" if is_run(folder) else "name another one"
        raise UserError(f"{folder.path} exists already: {hint}")


def create(folder: RunFolder, run: Run) -> None:
    """Makes the folder with design.yaml and run.json in it; raises `UserError` where it exists or cannot be made."""
    with writing_to(folder.path):
        check_free(folder)
        made = not folder.path.exists()
        folder.path.mkdir(parents=True, exist_ok=True)
        try:
            write_text(folder.design, listed.write(run.network))
            write_json(folder.run, run.as_dict())
        except BaseException:
            if made:  # nothing half made is left in the way of the next try
                shutil.rmtree(folder.path, ignore_errors=True)
            raise


def is_run(folder: RunFolder) -> bool:
    """Whether the folder holds a run."""
    return folder.run.is_file()


def read_run(path: str | Path) -> tuple[RunFolder, Run]:
    """The run in a folder; raises `UserError` naming the file that is missing or broken."""
    folder = RunFolder(Path(path))
    if not is_run(folder):
        problem = "is not a run folder (it has no run.json)" if folder.path.is_dir() else "does not exist"
        raise UserError(f"{path} {problem}. Runs are made by `cnnatomy train ... --out {path}`")
    record = read_json(folder.run)
    try:
        if record["format"] > FORMAT:
            raise UserError(
                f"{folder.run} was written by a newer cnnatomy (format {record['format']}, known: {FORMAT})"
            )
        network = listed.read(folder.design.read_text(encoding="utf-8"), str(folder.design))
        return folder, Run.from_dict(record, network)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"{folder.run} is not what a run writes ({type(error).__name__}: {error})") from None
    except OSError as error:
        raise UserError(f"{error.filename}: {error.strerror}") from None


def read_json(path: Path) -> Any:
    """A JSON file; raises `UserError` where it cannot be read."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from None
    except ValueError as error:
        raise UserError(f"{path} is not JSON ({error})") from None


def write_weights(path: Path, module: nn.Module, network: str) -> None:
    """Parameters and buffers as safetensors, under their names in the module."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in module.state_dict().items()}
    write_whole(path, lambda file: file.write(save(tensors, {"network": network})))


def read_weights(path: Path, module: nn.Module, network: str) -> None:
    """Loads what `write_weights` wrote; raises `UserError` where the file is broken or belongs to another network."""
    try:
        tensors = load(path.read_bytes())
    except FileNotFoundError:
        raise UserError(
            f"{path} is missing: no epoch was completed. Go on with `cnnatomy train ... --resume`"
        ) from None
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from None
    except SafetensorError as error:
        raise UserError(f"{path} is broken or not a safetensors file ({error})") from None
    check_weights(path, tensors, module, network)
    module.load_state_dict(tensors)


def check_weights(source: str | Path, tensors: dict[str, torch.Tensor], module: nn.Module, network: str) -> None:
    """Raises `UserError` naming the first tensor that `module` lacks, has not, or has in another shape."""
    wanted = module.state_dict()
    for name in [*wanted, *tensors]:
        found = "none" if name not in tensors else " x ".join(map(str, tensors[name].shape)) or "a number"
        needed = "none" if name not in wanted else " x ".join(map(str, wanted[name].shape)) or "a number"
        if found != needed:
            raise UserError(
                f"{source} holds weights of another network than {network}: {name} is {found}, expected {needed}"
            )
