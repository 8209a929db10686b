"""A trained network to begin with: a run folder, a file of weights, or what torchvision or timm fetch."""

from __future__ import annotations

import importlib
from dataclasses import replace
from pathlib import Path

import torch

from cnnatomy.design.network import Design
from cnnatomy.errors import UserError
from cnnatomy.machine import choose_device
from cnnatomy.runs.folder import RunFolder, is_run
from cnnatomy.runs.model import Model
from cnnatomy.runs.trained import Trained
from cnnatomy.runs.weights import sources

PRETRAINED = "pretrained"


def open_start(name: str, network: Design, device: str = "auto") -> Trained:
    """The trained network that `name` means: a run folder; a .safetensors or .pth file of weights of `network`;
    `torchvision:NAME` or `timm:NAME`; or `pretrained`, which looks in both for the name of `network`.

    Where those weights are of another number of classes than `network` has, it gets theirs.

    Raises:
        UserError: if there is no such thing, or the weights do not fit.
    """
    if Path(name).is_dir() or is_run(RunFolder(Path(name))):
        return Trained.load(name, device)
    library = name.partition(":")[0] in sources.LIBRARIES
    source = _named(network.name) if name == PRETRAINED else name
    theirs = sources.opened(source, pretrained=library or name == PRETRAINED)
    network = sources.with_their_outputs(network, theirs)
    done = sources.aligned(network, theirs, source)
    run = replace(sources.as_run(network, source), name=source)  # by which it is found again
    with torch.device("cpu"):
        module = run.network.build()
    module.load_state_dict(done.state)
    return Trained(run, Model(module, run.normalisation).to(choose_device(device)).eval())


def _named(name: str) -> str:
    """What torchvision, or timm, calls a network of the catalogue."""
    spellings = [name.replace("-", ""), name.replace("-", "_"), name.replace("-", "_").replace(".", "_")]
    for library, place in (("torchvision", "torchvision.models"), ("timm", "timm")):
        try:
            module = importlib.import_module(place)
        except Exception:  # not there, or made for another build of torch
            continue
        known = module.list_models()
        for spelling in spellings:
            if spelling in known:
                return f"{library}:{spelling}"
    raise UserError(
        f"pretrained: neither torchvision nor timm, as far as they are here, has a network {name};"
        " name one (torchvision:NAME, timm:NAME), a file of weights, or a run folder"
    )
