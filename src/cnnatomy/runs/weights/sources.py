"""Where weights come from: torchvision, timm, and files; and the safetensors file that they go to."""

from __future__ import annotations

import importlib
import re
import shlex
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from cnnatomy.data import Loading, Normalisation
from cnnatomy.data.imagenet import imagenet_classes
from cnnatomy.data.loading import AUTO
from cnnatomy.data.loading import IMAGENET as IMAGENET_FIT
from cnnatomy.design.listed import for_classes
from cnnatomy.design.network import Design
from cnnatomy.errors import UserError, nearest, quoted, shown
from cnnatomy.files import new_name, open_regular, read_text, writing_to
from cnnatomy.layers.layer import Shape
from cnnatomy.limits import MAX_NAMES_BYTES, MAX_WEIGHTS_BYTES
from cnnatomy.readers import CAFFE, CAFFE_WEIGHTS, STORED, read_stored
from cnnatomy.readers.caffe.caffemodel import in_order
from cnnatomy.readers.stored import StoredNetwork
from cnnatomy.runs import archives
from cnnatomy.runs.folder import check_finite, write_weights
from cnnatomy.runs.run import Run, image_shape
from cnnatomy.runs.weights.transplant import Transplant, from_module, from_state, outputs_there
from cnnatomy.tasks.ends import without_activation
from cnnatomy.tasks.label import Label
from cnnatomy.tasks.task import outputs_of

LIBRARIES = ("torchvision", "timm")
SUFFIXES = (".safetensors", ".pth", ".pt")
FILES = (*SUFFIXES, STORED, CAFFE_WEIGHTS)
"""How the names of files of weights end."""

Theirs = nn.Module | dict[str, torch.Tensor]
"""What has weights: a module that can be run, or the tensors of a file."""


def transplant(network: Design, source: str, pretrained: bool = False, called: str = "") -> Transplant:
    """The weights of `source` for a network: `torchvision:NAME`, `timm:NAME`, or the path of a file.

    With `pretrained` the library fetches its trained weights; without, a model there starts from random ones, which
    shows that the architectures are the same. `called` is what a command line called the network: a caffemodel belongs
    to a prototxt.

    Raises:
        UserError: if there is no such source, or a precise account of what does not fit.
    """
    theirs = opened(source, pretrained, called or network.name, network.input)
    there, here = outputs_of_both(network, theirs)
    if there is not None and there != here:
        raise UserError(
            f"{source}: its last layer has {there:,} outputs, and that of {network.name} {here:,}: give names for"
            f" {there:,} classes, or --classes {there}"
        )
    return aligned(network, theirs, source)


def opened(source: str, pretrained: bool = False, called: str = "", input: Shape | None = None) -> Theirs:
    """A model of a library, the network of an ONNX file with its weights, or the tensors of another file.

    The sizes that an ONNX file leaves open are those of `input`. Of a caffemodel, `called` is the prototxt; where it is
    none, the tensors are given in their order.
    """
    library, colon, name = source.partition(":")
    if colon and library in LIBRARIES:
        return _model(library, name, pretrained)
    if pretrained:
        raise UserError("--pretrained goes with torchvision:NAME or timm:NAME; a file holds the weights that it holds")
    if source.lower().endswith(STORED):
        return with_weights(read_stored(source, input), source)
    if source.lower().endswith(CAFFE_WEIGHTS):
        if called.lower().endswith(CAFFE):
            return with_weights(read_stored(called, input, source), source)
        tensors = {name: torch.tensor(array) for name, array in in_order(source)}
        return _usable(Path(source), tensors)
    return read_state(Path(source))


def with_weights(stored: StoredNetwork, source: str) -> nn.Module:
    """The network of a file with the weights in it, in evaluation.

    Raises:
        UserError: if the file lacks a tensor, has it in other sizes, or with numbers that are not finite.
    """
    with torch.device("cpu"):
        module = stored.network.build()
    state = module.state_dict()
    names = {(name.rpartition(".")[0], name.rpartition(".")[2]): name for name in state}
    for path, tensors in stored.tensors():
        for own, array in tensors.items():
            name = names[path, own] if (path, own) in names else _within(state, path, own)
            tensor = torch.tensor(array)
            check_finite(source, {name: tensor})
            state[name].copy_(tensor)
    return module.eval()


def _within(state: Mapping[str, torch.Tensor], path: str, own: str) -> str:
    """The name of a tensor of a layer that is applied to `Each` of several things: its module is in that one's."""
    return next(name for name in state if name.startswith(f"{path}.") and name.endswith(f".{own}"))


def aligned(network: Design, theirs: Theirs, source: str) -> Transplant:
    """The weights for a network of what `opened` gave."""
    ours = network.build()
    if not isinstance(theirs, nn.Module):
        return from_state(ours, theirs, source)
    state = theirs.state_dict()
    if {name: t.shape for name, t in state.items()} == {name: t.shape for name, t in ours.state_dict().items()}:
        return from_state(ours, state, source)  # by name: it is the same network
    try:
        return from_module(ours, theirs, torch.randn(2, *network.input), source)
    except UserError as error:
        normalised = any(isinstance(part, nn.modules.batchnorm._BatchNorm) for part in ours.modules())
        if not source.lower().endswith(STORED) or not normalised:
            raise
        raise UserError(
            f"{error}. Exporters fold batch norms into convolutions: the file is a network by itself,"
            f" `cnnatomy weights {shlex.quote(source)} --run RUN`"
        ) from None


def with_their_outputs(network: Design, theirs: Theirs) -> Design:
    """The network with as many outputs as the weights have, where that is all in which they differ."""
    there, here = outputs_of_both(network, theirs)
    return network if there is None or there == here else for_classes(network, there)


def outputs_of_both(network: Design, theirs: Theirs) -> tuple[int | None, int | None]:
    """How many outputs the weights have, None where they differ from a network in more than that; and the network."""
    with torch.device("meta"):
        ours = network.build()
    state = theirs.state_dict() if isinstance(theirs, nn.Module) else theirs
    return outputs_there(ours, state), outputs_there(ours, ours.state_dict())


def _model(library: str, name: str, pretrained: bool) -> nn.Module:
    try:
        module: Any = importlib.import_module("torchvision.models" if library == "torchvision" else library)
    except Exception as error:  # also what a wheel for another build of torch raises
        raise UserError(f"{library} cannot be imported here: {str(error).splitlines()[0]}") from None
    if name not in module.list_models():
        raise UserError(f"{library} has no model called {name!r}.{nearest(name, module.list_models())}")
    try:
        if library == "torchvision":
            options = {"init_weights": True} if name in ("googlenet", "inception_v3") else {}
            model: nn.Module = module.get_model(name, weights="DEFAULT" if pretrained else None, **options)
        else:
            model = module.create_model(name, pretrained=pretrained)
    except Exception as error:
        raise UserError(f"{library}:{name} cannot be made: {str(error).splitlines()[0]}") from None
    return model


def read_state(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a .safetensors or .pth file. Nothing in a file is ever executed: `weights_only`, and nothing else.

    Raises:
        UserError: if the file cannot be read, or is not a file of tensors.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise UserError(
            f"{path}: weights are torchvision:NAME, timm:NAME, or a file ending in {', '.join(FILES)};"
            " no run folder has that name"
        )
    if not path.exists():
        raise UserError(f"{path}: there is no such file")
    if path.suffix.lower() == ".safetensors":
        from safetensors.torch import load_file

        with open_regular(path, MAX_WEIGHTS_BYTES, "the weights"):
            try:
                tensors = load_file(path)
                return _usable(path, {name: tensors[name] for name in sorted(tensors, key=_counted)})
            except UserError:
                raise
            except Exception as error:  # SafetensorError, or a type of numbers that torch has not
                raise UserError(f"{path}: not a file of weights: {str(error).splitlines()[0]}") from None
    content = archives.read(path, "the weights")
    for key in ("state_dict", "model", "model_state_dict", "state_dict_ema"):  # what training scripts wrap it in
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    tensors = {
        str(name).removeprefix("module."): tensor
        for name, tensor in (content.items() if isinstance(content, Mapping) else ())
        if isinstance(tensor, torch.Tensor)
    }
    if not tensors:
        what = "None" if content is None else type(content).__name__
        raise UserError(f"{path}: holds no state dict, only {what}")
    return _usable(path, tensors)


def _counted(name: str) -> list[tuple[int, str]]:
    """The key by which `block10` comes after `block2`: a safetensors file has its tensors in no order of its own."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d{1,18})", name)]


def _usable(path: Path, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The tensors, if all have numbers, as many as they say, and finite ones."""
    for name, tensor in tensors.items():
        if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_meta:
            raise UserError(f"{path}: {shown(name)} is no ordinary tensor (sparse, quantised or without numbers)")
        if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
            raise UserError(f"{path}: {shown(name)} is said to be larger than what the file holds of it")
    check_finite(path, tensors)
    return tensors


def save(state: dict[str, torch.Tensor], path: Path, network: str = "") -> None:
    """Writes a state dict as a new safetensors file, whole or not at all.

    Raises:
        UserError: if there is such a file already, or it cannot be written.
    """
    with writing_to(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        with new_name(path):
            write_weights(path, state, network)


def class_names(text: str) -> tuple[str, ...]:
    """Names as `a,b,c`, or the path of a file that has one a line.

    Raises:
        UserError: if there is no such file, no name in it, or one of them twice.
    """
    what = "class names (one a line; or give them as a,b,c)"
    said = text.split(",") if "," in text else read_text(Path(text), MAX_NAMES_BYTES, what).splitlines()
    names = tuple(name.strip() for name in said if name.strip())
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise UserError(f"--names: {quoted(twice[0])} is there twice; each class has a name of its own")
    if not names:
        raise UserError(f"--names: {shown(text)} has no names of classes")
    return names


def as_run(network: Design, source: str, names: tuple[str, ...] = ()) -> Run:
    """A run folder's description for weights that were trained elsewhere.

    Images are normalised by ImageNet's mean and standard deviation, as most published weights expect. Classes that are
    not named by `names` are those of ImageNet where there are 1000, else numbers. A softmax at the end is left out, as
    whoever reads the outputs computes it.

    Raises:
        UserError: if the network has another number of outputs than there are names.
    """
    shape = image_shape(network)
    classes = network.graph().outputs[0].shape[0]
    named = bool(names)
    if not named:
        names = imagenet_classes() if classes == 1000 else tuple(map(str, range(classes)))
    task = Label(names)
    try:
        task.check(outputs_of(network, network.graph()), "--names" if named else network.name)
    except UserError as error:
        raise UserError(
            f"{error}; runs of others' weights are of one label, --out writes those of any network"
        ) from None
    network, _ = without_activation(network, shape, task)
    return Run(
        network=network,
        name=network.name,
        shape=shape,
        task=task,
        normalisation=IMAGENET if shape[0] == 3 else Normalisation((0.0,) * shape[0], (1.0,) * shape[0]),
        source=f"weights of {source}",
        loading=Loading(fit=IMAGENET_FIT if names == imagenet_classes() else AUTO),
        fingerprint="",
    )


IMAGENET = Normalisation((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""Mean and standard deviation of ImageNet's images, of red, green and blue from 0 to 1."""
