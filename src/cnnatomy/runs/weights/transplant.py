"""Weights of the same architecture, from other people's code into ours: aligned by structure and shape, never by name.

Two ways. Where the other network can be run, both run on one random input, and each of our layers takes the weights
of the layer there that saw the very same tensor: the flow of data decides, whatever things are called. Where there is
only a file of tensors, layers of equal shapes are matched in their order; a file of our own, in which
every name and shape is ours, is taken as it is.
"""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from cnnatomy.errors import UserError

TOLERANCE = 1e-10
"""The largest difference of outputs, relative to the largest output, that counts as equal in float64."""


@dataclass(frozen=True)
class TensorUnit:
    """The tensors that one layer owns, by their own names (`weight`, `bias`, `running_mean`), and where they are."""

    path: str
    tensors: dict[str, torch.Tensor] = field(hash=False)

    @property
    def signature(self) -> tuple[tuple[str, tuple[int, ...]], ...]:
        """Names and shapes without trailing ones, so that a fully connected layer equals a 1x1 convolution."""
        return tuple(sorted((name, _core(tensor.shape)) for name, tensor in self.tensors.items()))

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of each of its tensors."""
        return {name: tuple(tensor.shape) for name, tensor in self.tensors.items()}

    def __str__(self) -> str:
        shapes = ", ".join(f"{name} {'x'.join(map(str, tensor.shape))}" for name, tensor in self.tensors.items())
        return f"{self.path} ({shapes})"


def _core(shape: Iterable[int]) -> tuple[int, ...]:
    sizes = list(shape)
    while len(sizes) > 1 and sizes[-1] == 1:
        sizes.pop()
    return tuple(sizes)


def units(state: Mapping[str, torch.Tensor]) -> list[TensorUnit]:
    """The layers of a state dict, in its order; counters of batches are left out."""
    found: dict[str, dict[str, torch.Tensor]] = {}
    for name, tensor in state.items():
        path, _, own = name.rpartition(".")
        if own != "num_batches_tracked":
            found.setdefault(path, {})[own] = tensor
    return [TensorUnit(path, tensors) for path, tensors in found.items()]


@dataclass(frozen=True)
class Transplant:
    """What was done.

    Attributes:
        state: our state dict with the weights of the source.
        pairs: (our path, path there) of every layer.
        reordered: how many layers are not at the same place in the order of both.
        difference: the largest difference of outputs, relative to the largest output; None where nothing could be run.
        left_out: layers there that did not run, such as auxiliary heads where ours has none.
    """

    state: dict[str, torch.Tensor] = field(repr=False)
    pairs: list[tuple[str, str]] = field(repr=False)
    reordered: int = 0
    difference: float | None = None
    left_out: tuple[str, ...] = ()


def from_state(ours: nn.Module, source: Mapping[str, torch.Tensor], name: str) -> Transplant:
    """Aligns a state dict: layers of equal shapes in their order, or by name where all names and shapes are ours.

    Raises:
        UserError: a precise account of the layers that have no counterpart on either side.
    """
    mine, theirs = units(ours.state_dict()), units(source)
    named = {unit.path: unit for unit in theirs}
    if named.keys() == {unit.path for unit in mine} and all(named[unit.path].shapes == unit.shapes for unit in mine):
        return _transplant(ours, mine, [named[unit.path] for unit in mine], named)
    waiting: dict[Any, list[TensorUnit]] = {}
    for unit in theirs:
        waiting.setdefault(unit.signature, []).append(unit)
    taken: dict[str, TensorUnit] = {}
    missing: list[TensorUnit] = []
    for unit in mine:
        candidates = waiting.get(unit.signature)
        if candidates:
            taken[unit.path] = candidates.pop(0)
        else:
            missing.append(unit)
    _refuse_unless_complete(name, missing, [unit for candidates in waiting.values() for unit in candidates])
    return _transplant(ours, mine, theirs, taken)


def outputs_there(ours: nn.Module, source: Mapping[str, torch.Tensor]) -> int | None:
    """How many outputs a state dict has, if it is that of `ours` but for their number; None where it is not."""
    mine = units(ours.state_dict())
    last = next(
        (unit for unit in reversed(mine) if "weight" in unit.tensors and unit.tensors["weight"].dim() > 1), None
    )
    left = Counter(unit.signature for unit in units(source))
    left.subtract(unit.signature for unit in mine if unit is not last)
    (signature, *others) = left.elements() if sum(left.values()) == 1 else (None,)
    if last is None or signature is None or others or min(left.values()) < 0:
        return None
    shapes, wanted = dict(signature), dict(last.signature)
    if shapes.keys() != wanted.keys() or shapes["weight"][1:] != wanted["weight"][1:]:
        return None
    return shapes["weight"][0]


def from_module(ours: nn.Module, source: nn.Module, x: torch.Tensor, name: str) -> Transplant:
    """Aligns a module that can be run, by the tensors that its layers see for the input `x` (a batch of at least 1).

    Both run in float64 on copies. The result says how far the outputs differ.

    Raises:
        UserError: naming the first layer of ours that no layer there corresponds to, or what is left over.
    """
    if all(float(p.detach().std()) == 0 for p in source.parameters() if p.dim() > 1):
        raise UserError(f"{name}: its weights are all alike, so its layers cannot be told apart by what they compute")
    with _as_double(ours), _as_double(source), torch.no_grad():
        try:
            done = _run_both(ours, source, x.double(), name, auxiliary=False)
        except UserError as error:
            try:  # auxiliary heads run in training alone
                done = _run_both(ours, source, x.double(), name, auxiliary=True)
            except UserError:
                raise error from None
    dtypes = {path: tensor.dtype for path, tensor in ours.state_dict().items()}
    return dataclasses.replace(done, state={path: tensor.to(dtypes[path]) for path, tensor in done.state.items()})


def _run_both(ours: nn.Module, source: nn.Module, x: torch.Tensor, name: str, auxiliary: bool) -> Transplant:
    _set_mode(source, auxiliary)
    _set_mode(ours, auxiliary)
    seen: list[tuple[TensorUnit, torch.Tensor]] = []
    theirs = _owners(source)
    hooks = [
        module.register_forward_pre_hook(lambda _m, inputs, unit=unit: seen.append((unit, inputs[0].clone())))
        for module, unit in theirs
    ]
    expected = _tensors(source(x))
    for hook in hooks:
        hook.remove()

    taken: dict[str, TensorUnit] = {}
    mine = _owners(ours)

    def take(module: nn.Module, inputs: tuple[torch.Tensor, ...], unit: TensorUnit) -> None:
        for i, (candidate, tensor) in enumerate(seen):
            if candidate.signature == unit.signature and _equal(tensor, inputs[0]):
                _copy(unit, candidate)
                taken[unit.path] = candidate
                del seen[i]
                return
        raise UserError(
            f"{name}: no layer there reads what our {unit} reads, after {len(taken)} layers that correspond"
        )

    hooks = [
        module.register_forward_pre_hook(lambda m, inputs, unit=unit: take(m, inputs, unit)) for module, unit in mine
    ]
    try:
        got = _tensors(ours(x))
    finally:
        for hook in hooks:
            hook.remove()
    missing = [unit for _, unit in mine if unit.path not in taken]
    _refuse_unless_complete(name, missing, [unit for unit, _ in seen])
    difference = max(min(_difference(a, b) for b in expected) for a in got)  # heads may come in another order
    if not difference <= TOLERANCE:
        raise UserError(f"{name}: every layer has a counterpart, but the outputs differ by {difference:.1e} (relative)")
    used = {unit.path for unit in taken.values()}
    idle = tuple(unit.path for _, unit in theirs if unit.path not in used)
    done = _transplant(ours, [unit for _, unit in mine], [unit for _, unit in theirs], taken)
    return dataclasses.replace(done, difference=difference, left_out=idle)


def _owners(module: nn.Module) -> list[tuple[nn.Module, TensorUnit]]:
    """The modules that own tensors themselves."""
    owners = []
    for path, part in module.named_modules():
        own = {**part._parameters, **part._buffers}
        tensors = {name: t for name, t in own.items() if t is not None and name != "num_batches_tracked"}
        if tensors:
            owners.append((part, TensorUnit(path, tensors)))
    return owners


def _copy(unit: TensorUnit, source: TensorUnit) -> None:
    for name, tensor in unit.tensors.items():
        tensor.copy_(source.tensors[name].reshape(tensor.shape))


def _transplant(
    ours: nn.Module,
    mine: list[TensorUnit],
    theirs: list[TensorUnit],
    taken: dict[str, TensorUnit],
) -> Transplant:
    dtypes = {name: tensor.dtype for name, tensor in ours.state_dict().items()}
    counters = {name: torch.tensor(0) for name, dtype in dtypes.items() if not dtype.is_floating_point}
    state = counters | {
        f"{unit.path}.{name}": taken[unit.path].tensors[name].detach().reshape(tensor.shape).to(tensor.dtype).clone()
        for unit in mine
        for name, tensor in unit.tensors.items()
    }
    order = {unit.path: i for i, unit in enumerate(theirs)}
    places = [order[taken[unit.path].path] for unit in mine]
    reordered = sum(place != i for i, place in enumerate(places))
    return Transplant(state, [(unit.path, taken[unit.path].path) for unit in mine], reordered)


def _refuse_unless_complete(name: str, missing: list[TensorUnit], left: list[TensorUnit]) -> None:
    """Raises a UserError that lists what has no counterpart, if anything has none."""
    if not missing and not left:
        return
    lines = [f"{name} is not the same architecture:"]
    for what, found in (("ours without a counterpart", missing), ("theirs without a counterpart", left)):
        lines += [f"  {what}: {unit}" for unit in found[:8]]
        lines += [f"  ... and {len(found) - 8} more" for _ in found[8:9]]
    raise UserError("\n".join(lines))


@contextmanager
def _as_double(module: nn.Module) -> Iterator[None]:
    """The module in float64 for a while; mode, types and values are then as before."""
    modes = {part: part.training for part in module.modules()}
    before = {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}
    dtype = next((p.dtype for p in module.parameters()), torch.float32)
    module.double()
    try:
        yield
    finally:
        module.to(dtype)
        module.load_state_dict(before)
        for part, training in modes.items():
            part.training = training


def _set_mode(module: nn.Module, auxiliary: bool) -> None:
    """Evaluation; with `auxiliary` containers think that they train, so that auxiliary heads run, but no layer does."""
    for part in module.modules():
        part.training = auxiliary and any(True for _ in part.children())


def _tensors(output: Any) -> list[torch.Tensor]:
    """All tensors of an output, whatever holds them."""
    if isinstance(output, torch.Tensor):
        return [output]
    if isinstance(output, Mapping):
        output = output.values()
    return [tensor for item in output if item is not None for tensor in _tensors(item)]


def _equal(a: torch.Tensor, b: torch.Tensor) -> bool:
    return a.numel() == b.numel() and _core(a.shape) == _core(b.shape) and _difference(a, b) < 1e-9


def _difference(a: torch.Tensor, b: torch.Tensor) -> float:
    """The largest difference, relative to the largest value."""
    if a.numel() != b.numel():
        return math.inf
    scale = max(float(a.abs().max()), float(b.abs().max()), 1e-300)
    return float((a.reshape(-1) - b.reshape(-1)).abs().max()) / scale
