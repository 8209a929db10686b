"""Reading leaves no trace: what modules change while they run is put back."""

from __future__ import annotations

import functools
import random
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import cnnatomy as cn

INPUT = (3, 8, 8)


class _Convolution(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)


class _InstallsHooks(_Convolution):
    """As every model of transformers 5 does in its first run."""

    def forward(self, x: Any) -> Any:
        if not getattr(self, "installed", False):
            self.conv.register_forward_hook(lambda module, inputs, output: self.seen.append(output))
            self.conv.register_forward_pre_hook(lambda module, inputs, named: None, with_kwargs=True)
            self.conv.register_forward_hook(lambda module, inputs, output: None, always_call=True)
            self.conv.register_full_backward_hook(lambda module, inputs, outputs: None)
            self.installed = True
        self.seen: list[Any] = []
        return self.conv(x)


class _RemovesHooks(_Convolution):
    def __init__(self) -> None:
        super().__init__()
        self.handle = self.conv.register_forward_hook(lambda module, inputs, output: None, always_call=True)

    def forward(self, x: Any) -> Any:
        self.handle.remove()
        return self.conv(x)


class _Grows(_Convolution):
    """Buffers, parameters and parts that are made in the first run; modes that change."""

    def forward(self, x: Any) -> Any:
        if not hasattr(self, "offset"):
            self.register_buffer("offset", torch.zeros(1, 3, *x.shape[2:]))
            self.register_parameter("scale", nn.Parameter(torch.ones(3, 1, 1)))
            self.more = nn.Conv2d(4, 5, 1)
        self.train(not self.training)
        return self.more(self.conv(x * self.scale + self.offset))


class _Remembers(_Convolution):
    """Caches in containers and objects, however deep, in the class, and of a function."""

    memo: dict[Any, Any] = {}  # noqa: RUF012 - shared on purpose
    runs = 0

    def __init__(self) -> None:
        super().__init__()
        self.nested: dict[str, Any] = {"a": [{}]}
        self.pair: tuple[list[Any], dict[Any, Any]] = ([], {})
        self.holder = type("Holder", (), {})()
        self.holder.items = []
        self.table, self.array = torch.zeros(3, 1, 1), np.zeros(3)

    @functools.lru_cache  # noqa: B019
    def twice(self, x: Any) -> Any:
        return x * 2

    def forward(self, x: Any) -> Any:
        type(self).runs += 1
        for container in (self.memo, self.nested["a"][0], self.pair[1]):
            container["x"] = x
        self.pair[0].append(x)
        self.holder.items.append(x)
        self.table += 1
        self.table.view(-1)[1:2] = x.mean()
        self.array += 1
        return self.conv(self.twice(x) + self.table)


def _state(module: nn.Module) -> Any:
    parts = [{k: dict(v) if isinstance(v, dict) else v for k, v in vars(part).items()} for part in module.modules()]
    return parts, [str(part) for part in parts]


@pytest.mark.parametrize("kind", [_InstallsHooks, _RemovesHooks, _Grows])
@pytest.mark.parametrize("training", [True, False])
def test_hooks_buffers_parts_and_modes_are_put_back(kind: type[nn.Module], training: bool) -> None:
    module = kind().train(training)
    before = _state(module)
    cn.read(module, INPUT)
    assert _state(module)[1] == before[1]


def test_a_module_that_installs_hooks_records_once_in_its_first_run() -> None:
    module = _InstallsHooks()
    cn.read(module, INPUT)
    module(torch.rand(1, *INPUT))
    assert len(module.seen) == 1


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_caches_hold_no_stand_ins(device: str) -> None:
    with torch.device(device):
        module = _Remembers()
    cn.read(module, INPUT)
    assert not _Remembers.memo
    assert _Remembers.runs == 0
    assert module.nested == {"a": [{}]}
    assert module.pair == ([], {})
    assert module.holder.items == []
    assert module.array.tolist() == [0, 0, 0]
    assert _Remembers.twice.cache_info().currsize == 0
    assert not vars(module.table)
    assert device == "meta" or module.table.flatten().tolist() == [0, 0, 0]


def test_also_after_an_error() -> None:
    class Fails(_InstallsHooks):
        def forward(self, x: Any) -> Any:
            super().forward(x)
            raise ValueError("no")

    module = Fails()
    with pytest.raises(cn.UserError, match="no"):
        cn.read(module, INPUT)
    assert not module.conv._forward_hooks
    assert not hasattr(module, "seen")


def test_a_hook_for_every_module_is_removed() -> None:
    class Everywhere(_Convolution):
        def forward(self, x: Any) -> Any:
            nn.modules.module.register_module_forward_hook(lambda module, inputs, output: None)
            return self.conv(x)

    cn.read(Everywhere(), INPUT)
    assert not nn.modules.module._global_forward_hooks


def test_random_states_are_what_they_were() -> None:
    class Draws(_Convolution):
        def __init__(self) -> None:
            super().__init__()
            self.own = torch.Generator()

        def forward(self, x: Any) -> Any:
            noise = torch.rand(x.shape) + torch.randn_like(x) + torch.rand(1, generator=self.own)
            return self.conv(x + noise * random.random() + float(np.random.rand()))

    module = Draws()

    def states() -> list[Any]:
        torch_states = [torch.get_rng_state().tolist(), module.own.get_state().tolist()]
        return [*torch_states, random.getstate(), [x.tolist() for x in np.random.get_state()[1:2]]]

    before = states()
    cn.read(module, INPUT)
    assert states() == before


_KEPT: list[Any] = []


def _keep(output: Any) -> None:
    _KEPT.append(output)


class _Recorder:
    __slots__ = ("calls", "outputs")

    def __init__(self) -> None:
        self.outputs: list[Any] = []
        self.calls = 0

    def __call__(self, module: Any, inputs: Any, output: Any) -> None:
        self.outputs.append(output)
        self.calls += 1


class _Listener:
    def __init__(self) -> None:
        self.heard: list[Any] = []

    def hear(self, module: Any, inputs: Any, output: Any) -> None:
        self.heard.append(output)


def test_what_the_hooks_of_users_recorded_is_put_back() -> None:
    module, found, calls = nn.Sequential(nn.Conv2d(3, 4, 3)), {}, 0

    def named(name: str, kept: list[Any], module: Any, inputs: Any, output: Any) -> None:
        nonlocal calls
        calls += 1
        found[name] = output
        kept.append(output)

    def also(module: Any, inputs: Any, output: Any, default: list[Any] = []) -> None:  # noqa: B006 - one that is kept
        default.append(output)
        _keep(output)

    given: list[Any] = []
    recorder, listener = _Recorder(), _Listener()
    for hook in (functools.partial(named, "conv", given), also, recorder, listener.hear):
        module[0].register_forward_hook(hook)
    cn.read(module, INPUT)
    assert (found, given, calls, also.__defaults__, _KEPT) == ({}, [], 0, ([],), [])
    assert (recorder.outputs, recorder.calls, listener.heard) == ([], 0, [])
    module(torch.rand(1, *INPUT))
    assert [len(x) for x in (found, given, recorder.outputs, listener.heard, _KEPT)] == [1] * 5
