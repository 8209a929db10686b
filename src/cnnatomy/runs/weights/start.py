"""A trained network to begin with: a run folder, a file with weights, or what torchvision or timm fetch."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from cnnatomy.design.network import Design
from cnnatomy.errors import UserError
from cnnatomy.layers.layer import Shape
from cnnatomy.machine import choose_device
from cnnatomy.readers import CAFFE, CAFFE_WEIGHTS, has_weights, read_stored
from cnnatomy.runs.folder import RunFolder, is_run
from cnnatomy.runs.model import Model
from cnnatomy.runs.trained import Trained
from cnnatomy.runs.weights import sources

PRETRAINED = "pretrained"


def open_start(name: str, network: Design, device: str = "auto") -> Trained:
    """The trained network that `name` means: a run folder; a .safetensors, .pth or .onnx file of weights of `network`;
    `torchvision:NAME` or `timm:NAME`; or `pretrained`: the weights of the file where `network` is one that has them,
    else it looks in both for the name of `network`.

    Where those weights are of another number of classes than `network` has, it gets theirs.

    Raises:
        UserError: if there is no such thing, or the weights do not fit.
    """
    if Path(name).is_dir() or is_run(RunFolder(Path(name))):
        return Trained.load(name, device)
    library = name.partition(":")[0] in sources.LIBRARIES
    own = name == PRETRAINED and has_weights(network.name)
    source = network.name if own else _named(network.name) if name == PRETRAINED else name
    fetched = library or (name == PRETRAINED and not own)
    theirs = sources.opened(source, fetched, network.name, network.input)
    network = sources.with_their_outputs(network, theirs)
    return _trained(network, sources.aligned(network, theirs, source).state, source, (), device)


def open_file(path: str | Path, names: Sequence[str] = (), input: Shape | None = None, device: str = "auto") -> Trained:
    """The network of an ONNX file with the weights in it, to predict, evaluate, explain, compress or train further.

    `names` are those of its classes, in order; without, they are ImageNet's or numbers. `input` is the shape of an
    image, where the file leaves it open. Images are normalised as ImageNet's: `sources.as_run`.

    Raises:
        UserError: if it cannot be read, naming the first node that is none of our layers, or if it does not classify.
    """
    stored = read_stored(str(path), input)
    return _trained(stored.network, sources.with_weights(stored, str(path)).state_dict(), str(path), names, device)


def _trained(
    network: Design, state: Mapping[str, torch.Tensor], source: str, names: Sequence[str], device: str
) -> Trained:
    run = replace(sources.as_run(network, source, tuple(names)), name=source)  # by which it is found again
    with torch.device("cpu"):
        module = run.network.build()
    module.load_state_dict(state)
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
    if name.lower().endswith(CAFFE):
        raise UserError(
            f"pretrained: {name} has no weights with it; name its file of weights, --start NET{CAFFE_WEIGHTS}"
        )
    raise UserError(
        f"pretrained: neither torchvision nor timm, as far as they are here, has a network {name};"
        " name one (torchvision:NAME, timm:NAME), a file of weights, or a run folder"
    )
