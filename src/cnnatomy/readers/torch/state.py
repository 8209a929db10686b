"""What a module may change while it runs is put back: attributes, hooks, parts, containers, random states, caches."""

from __future__ import annotations

import contextlib
import functools
import operator
import random
import sys
import types
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, filterfalse, repeat
from typing import Any

import torch
from torch import nn
from torch.nn.modules import module as torch_modules

from cnnatomy.limits import MAX_STATE_VALUES

_FILL: dict[type, Callable[[Any, Any], None]] = {
    OrderedDict: OrderedDict.update,
    dict: dict.update,
    list: list.extend,
    set: set.update,
    deque: deque.extend,
}
"""What a container can be -> how an empty one gets its contents."""

_CONTAINERS = frozenset(_FILL)

_ATOMS = frozenset(
    (
        *(bool, int, float, complex, str, bytes, type(None), slice, range, type, property, nn.Parameter),
        *(torch.Size, torch.device, torch.dtype),
        *(types.ModuleType, types.BuiltinFunctionType),
    )
)
"""What holds nothing that a module changes; parameters are never written to (see `tensors`)."""

_HELD = _ATOMS | _CONTAINERS

_FUNCTIONS = frozenset((types.FunctionType, types.MethodType, functools.partial))

_CACHE = type(functools.lru_cache(lambda: None))

_HOOKS_OF_ALL = [x for name, x in vars(torch_modules).items() if name.startswith("_global_") and isinstance(x, dict)]
"""Where torch keeps hooks that are called for every module."""

Undo = Callable[[], object]


@contextlib.contextmanager
def left_as_it_was(names: dict[nn.Module, str]) -> Iterator[State]:
    """A module, with all its parts, is afterwards what it was before, also after an error."""
    state = State(names)
    try:
        yield state
    finally:
        state.restore()


class State:
    """Every container and object that can be reached from the parts of a module, and what it holds.

    Numbers of tensors are not copied: `before_writing` is told of a tensor that is about to be changed in place.
    """

    def __init__(self, names: dict[nn.Module, str]) -> None:
        self.parts = names
        self.dicts: list[dict[Any, Any]] = []  # that hold something, as do the others
        self.others: list[Any] = []
        self.empty: list[Any] = []
        self.tensors: list[torch.Tensor] = []
        self.storages: set[int] | None = None
        self.functions: set[types.FunctionType] = set()
        self.undo: list[Undo] = _random_states()
        kinds = {kind for kind in set(map(type, names)) if not kind.__module__.startswith("torch.")}
        self.classes = [(kind, dict(vars(kind))) for kind in kinds]
        for cache in {cache for kind in kinds for cache in _caches(kind)}:
            self.undo.append(functools.partial(_forget, cache, cache.cache_info().currsize))
        self._keep(*self._in_parts())
        self.copies = [*map(dict.copy, self.dicts), *[_base(x.__class__).copy(x) for x in self.others]]
        self.contents = self._contents()

    def _in_parts(self) -> tuple[list[Any], list[Any]]:
        """Notes the tables of parts, parameters and buffers; what else parts have: containers, and what may hold some.

        What is in these tables is known, so that it need not be looked at.
        """
        attributes: list[dict[str, Any]] = [part.__dict__ for part in self.parts]
        values = [x for _, own in self.classes for x in own.values() if type(x) is not types.FunctionType]
        for kind, own in zip(map(type, self.parts), attributes, strict=True):
            layout = _LAYOUTS.get((kind, len(own)))
            names = layout[1] if layout is not None and own.keys() == layout[0] else _may_hold(kind, own)
            values += [own[name] for name in names]
        try:
            tables = list(chain.from_iterable(map(_TABLES, attributes)))
            hooks = list(chain.from_iterable(map(_HOOKS, attributes)))
            usual = all(type(x) is dict for x in tables)
        except KeyError:
            usual = False
        if not usual:  # of TorchScript
            return [*attributes, *_HOOKS_OF_ALL], values
        for own in attributes:
            if own["_buffers"]:
                self.tensors += [x for x in own["_buffers"].values() if x is not None]
        self.dicts += attributes
        self.dicts += filter(None, tables)
        self.empty += filterfalse(None, tables)
        return hooks + _HOOKS_OF_ALL, values

    def _keep(self, level: list[Any], values: list[Any]) -> None:
        """Notes these containers and whatever is in them and in values, what is nearest to the module first."""
        seen: set[int] = set(map(id, self.dicts))
        while (level or values) and len(seen) < MAX_STATE_VALUES:
            self.empty += filterfalse(None, level)
            fresh = {id(x): x for x in filter(None, level)}
            if not seen.isdisjoint(fresh):
                fresh = {key: x for key, x in fresh.items() if key not in seen}
            seen.update(fresh)
            level = [*fresh.values()]
            self.dicts += [x for x in level if type(x) is dict]
            self.others += [x for x in level if type(x) is not dict]
            values += chain.from_iterable(map(_values, level))
            level, values = self._containers(values), []

    def _containers(self, values: list[Any]) -> list[Any]:
        """Those of these values that are containers, and the attributes of those that are objects."""
        found = [x for x in values if type(x) in _CONTAINERS]
        rest = [x for x in values if type(x) not in _HELD]
        if not rest:
            return found
        tuples = [x for x in rest if type(x) is tuple]
        others = [x for x in rest if type(x) is not tuple]
        if tuples:
            inside = [x for x in chain.from_iterable(tuples) if type(x) not in _ATOMS]
            found += self._containers(inside) if inside else ()
        for x in others:
            if isinstance(x, nn.Module) and x in self.parts:
                continue
            if isinstance(x, torch.Tensor):
                self.tensors.append(x)
            elif (undo := _undo(x)) is not None:
                self.undo.append(undo)
            elif type(x) in _FUNCTIONS:
                found += self._containers(self._used_by(x))
            elif not isinstance(x, type):
                if _base(x.__class__) in _CONTAINERS:
                    found.append(x)
                own = getattr(x, "__dict__", None)
                if type(own) is dict:
                    found.append(own)
                found += self._in_slots(x)
        return found

    def _in_slots(self, x: Any) -> list[Any]:
        """The containers that an object keeps beside its attributes."""
        found = []
        for slot in _slots(x.__class__):
            with contextlib.suppress(AttributeError):  # nothing is in it yet
                held = slot.__get__(x)
                found += [held] if type(held) in _CONTAINERS else []
                self.undo.append(functools.partial(slot.__set__, x, held))
        return found

    def _used_by(self, function: Any) -> list[Any]:
        """What a function that was given to a module, as a hook is, reads from around it and keeps between calls."""
        if type(function) is functools.partial:
            return [function.func, *function.args, *function.keywords.values()]
        if type(function) is types.MethodType:
            return [function.__self__]
        if function in self.functions or function.__module__.partition(".")[0] == "torch":
            return []
        self.functions.add(function)
        used = [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()]
        for cell in function.__closure__ or ():
            with contextlib.suppress(ValueError):  # nothing is in it yet
                used.append(cell.cell_contents)
                self.undo.append(functools.partial(setattr, cell, "cell_contents", used[-1]))
        around = function.__globals__
        for name in around.keys() & set(function.__code__.co_names):
            used.append(around[name])
            self.undo.append(functools.partial(around.__setitem__, name, around[name]))
        return used

    def _contents(self) -> list[Any]:
        """All that the containers hold, in order, and the last name in each: one that is new stands there."""
        names = [*self.dicts, *[x for x in self.others if isinstance(x, dict)]]
        last = [*map(next, map(reversed, names), repeat(None))]
        return [*last, *chain.from_iterable(chain(map(dict.values, self.dicts), map(_values, self.others)))]

    def before_writing(self, x: torch.Tensor) -> None:
        """A tensor that is neither parameter nor buffer is about to be changed: its numbers are kept, if it is held."""
        if x.is_meta or x.layout is not torch.strided:
            return
        if self.storages is None:
            self.storages = {y.data_ptr() and y.untyped_storage().data_ptr() for y in self.tensors if not y.is_meta}
        if x.untyped_storage().data_ptr() in self.storages:
            self.undo.append(functools.partial(x.detach().copy_, x.detach().clone()))

    def restore(self) -> None:
        """Makes everything hold the very objects that it held before."""
        after = self._contents()
        if len(after) != len(self.contents) or not all(map(operator.is_, after, self.contents)):
            for container, before in zip(chain(self.dicts, self.others), self.copies, strict=True):
                _refill(container, before)
        if any(self.empty):
            for container in self.empty:
                container.clear()
        for kind, own in self.classes:
            now = vars(kind)
            if len(now) != len(own) or not all(map(operator.is_, now.values(), own.values())):
                _restore_class(kind, own)
        with torch.no_grad():
            while self.undo:  # which hold what holds this
                self.undo.pop()()


def _values(container: Any) -> Iterable[Any]:
    return container.values() if isinstance(container, dict) else container


_OF_EVERY = {name for name, x in vars(nn.Module()).items() if type(x) in _CONTAINERS}
_TABLE_NAMES = ("_parameters", "_buffers", "_modules")
_TABLES = operator.itemgetter(*_TABLE_NAMES)
_HOOKS = operator.itemgetter(*_OF_EVERY.difference(_TABLE_NAMES))
"""What every module keeps in containers."""

_LAYOUTS: dict[tuple[type, int], tuple[frozenset[str], tuple[str, ...]]] = {}
"""Class of torch, number of its attributes -> what they are, and in which of them there may be containers."""


def _may_hold(kind: type, own: dict[str, Any]) -> tuple[str, ...]:
    """The attributes of a part in which there may be containers, but for those that every module has.

    Modules of one class of torch with the same attributes hold the same kinds of things in them.
    """
    names = tuple(name for name, x in own.items() if name not in _OF_EVERY and not _is_plain(x))
    if kind.__module__.startswith("torch.nn."):
        _LAYOUTS[kind, len(own)] = (frozenset(own), names)
    return names


def _is_plain(x: Any) -> bool:
    return type(x) in _ATOMS or (type(x) is tuple and all(map(_is_plain, x)))


@functools.lru_cache(4096)
def _base(kind: Any) -> Any:
    """Which sort of container a class is; `NoneType` if it is none."""
    return next((base for base in _FILL if issubclass(kind, base)), type(None))


def _same(now: Any, before: Any) -> bool:
    if len(now) != len(before) or not all(map(operator.is_, now, before)):
        return False
    return not isinstance(now, dict) or all(map(operator.is_, now.values(), before.values()))


def _refill(container: Any, before: Any) -> None:
    if not _same(container, before):
        base = _base(container.__class__)
        base.clear(container)
        _FILL[base](container, before)


def _restore_class(kind: type, own: dict[str, Any]) -> None:
    now = dict(vars(kind))
    for name in now.keys() - own.keys():
        delattr(kind, name)
    for name, x in own.items():
        if now.get(name) is not x:
            setattr(kind, name, x)


@functools.lru_cache(4096)
def _slots(kind: Any) -> tuple[types.MemberDescriptorType, ...]:
    """Where objects of a class keep what they do not keep in a dictionary."""
    places = [vars(one) for one in kind.__mro__ if "__slots__" in vars(one)]
    return tuple(x for place in places for x in place.values() if type(x) is types.MemberDescriptorType)


@functools.lru_cache(4096)
def _caches(kind: type) -> tuple[Any, ...]:
    """The functions that keep what they returned, of a class and of the file in which it is written."""
    places = [*map(vars, kind.__mro__[:-1]), vars(sys.modules.get(kind.__module__, types))]
    return tuple(x for place in places for x in place.values() if type(x) is _CACHE)


def _forget(cache: Any, size: int) -> None:
    if cache.cache_info().currsize != size:
        cache.cache_clear()


def _undo(x: Any) -> Undo | None:
    """How to put back an object that changes without attributes: a generator of numbers, a cache, an array."""
    if type(x) is _CACHE:
        return functools.partial(_forget, x, x.cache_info().currsize)
    if type(x) is torch.Generator:
        return functools.partial(x.set_state, x.get_state())
    if isinstance(x, random.Random):
        return functools.partial(x.setstate, x.getstate())
    if type(x).__module__.partition(".")[0] == "numpy":
        return _undo_numpy(x)
    return None


def _undo_numpy(x: Any) -> Undo | None:
    import numpy as np

    if isinstance(x, np.ndarray):
        return functools.partial(np.copyto, x, x.copy()) if x.flags.writeable and not x.dtype.hasobject else None
    if isinstance(x, np.random.Generator):
        return functools.partial(setattr, x.bit_generator, "state", x.bit_generator.state)
    return functools.partial(x.set_state, x.get_state()) if isinstance(x, np.random.RandomState) else None


def _random_states() -> list[Undo]:
    """How to put back the generators that everybody draws from."""
    found: list[Undo] = [
        functools.partial(torch.set_rng_state, torch.get_rng_state()),
        functools.partial(random.setstate, random.getstate()),
    ]
    if "numpy" in sys.modules:
        import numpy as np

        found.append(functools.partial(np.random.set_state, np.random.get_state()))
    if torch.cuda.is_initialized():
        found.append(functools.partial(torch.cuda.set_rng_state_all, torch.cuda.get_rng_state_all()))
    return found
