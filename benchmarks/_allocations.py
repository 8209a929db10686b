"""What torch's CPU allocator really does: every allocation and release, in order, and what the peak is made of."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.autograd.graph import saved_tensors_hooks
from torch.profiler import ProfilerActivity, profile

KERNELS = ("aten::mkldnn_convolution", "aten::_convolution", "aten::convolution_backward", "aten::mkldnn_rnn_layer")
"""What they allocate and release before they return is their workspace: reordered weights and maps, columns."""


class MeasuredMemory(NamedTuple):
    """Bytes: the most held at once, and the same without the workspace of convolution kernels."""

    everything: int
    tensors: int


class Event(NamedTuple):
    when: int
    address: int
    size: int
    kernel: int  # the number of the call of a kernel that it happened in, or 0


def measure(action: Callable[[], object]) -> MeasuredMemory:
    """Runs it, and follows the allocator; what was allocated before does not count."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        action()
    tree = profiler.profiler.kineto_results.experimental_event_tree()  # type: ignore[union-attr]
    calls = iter(range(1, 10**9))
    events = list(_of_this_run(sorted(_memory(tree, 0, calls))))
    return MeasuredMemory(_peak(events), _peak(list(_without_workspace(events))))


def _memory(tree: Any, kernel: int, calls: Iterator[int]) -> Iterator[Event]:
    for event in tree:
        if event.name == "[memory]":
            fields = event.extra_fields
            yield Event(event.start_time_ns, fields.ptr, fields.alloc_size, kernel)
        else:
            yield from _memory(event.children, kernel or (next(calls) if event.name in KERNELS else 0), calls)


def _of_this_run(events: list[Event]) -> Iterator[Event]:
    """Without what is freed now and was allocated before, such as garbage that happens to be collected."""
    made: set[int] = set()
    for event in events:
        if event.size > 0:
            made.add(event.address)
        elif event.address in made:
            made.remove(event.address)
        else:
            continue
        yield event


def _without_workspace(events: list[Event]) -> Iterator[Event]:
    made: dict[int, int] = {}  # address -> number of the event that allocated it
    workspace = set()
    for i, event in enumerate(events):
        if event.size > 0:
            made[event.address] = i
        elif event.address in made:
            start = made.pop(event.address)
            if event.kernel and event.kernel == events[start].kernel:
                workspace |= {start, i}
    return (event for i, event in enumerate(events) if i not in workspace)


def _peak(events: list[Event]) -> int:
    now = most = 0
    for event in events:
        now += event.size
        most = max(most, now)
    return most


def saved_bytes(module: nn.Module, inputs: tuple[torch.Tensor, ...], run: Callable[[], Any] | None = None) -> int:
    """Bytes that autograd keeps after a forward pass: each piece of memory once, without weights, buffers and inputs.

    Single numbers are left out: torch keeps some of them as tensors.
    """
    packed: list[torch.Tensor] = []

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        kept = tensor.detach()  # a tensor that its own node kept would never be freed
        packed.append(kept)
        return kept

    with saved_tensors_hooks(pack, lambda tensor: tensor):
        output = run() if run else module(*inputs)
    known = {t.untyped_storage().data_ptr() for t in (*module.parameters(), *module.buffers(), *inputs)}
    sizes = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in packed if t.dim()}
    del output
    return sum(size for address, size in sizes.items() if address not in known)


def outputs_of(result: Any) -> list[torch.Tensor]:
    """The tensors that a network returned."""
    if isinstance(result, torch.Tensor):
        return [result]
    return list(result.values() if isinstance(result, dict) else result)


def loss_of(result: Any) -> torch.Tensor:
    """The sum of the cross entropies of all outputs, with every target class 0."""
    losses = []
    for output in outputs_of(result):
        target = output.new_zeros(output.shape[0], *output.shape[2:], dtype=torch.long)
        losses.append(nn.functional.cross_entropy(output, target))
    return torch.stack(losses).sum() if len(losses) > 1 else losses[0]


def measure_inference(module: nn.Module, x: torch.Tensor) -> MeasuredMemory:
    """The peak of one forward pass without autograd, beside weights and input."""
    module.eval()
    with torch.no_grad():
        module(x)
        return measure(lambda: module(x))


OPTIMIZERS: dict[str, Callable[[Any], torch.optim.Optimizer]] = {
    "sgd": lambda parameters: torch.optim.SGD(parameters, 1e-4, foreach=False),
    "momentum": lambda parameters: torch.optim.SGD(parameters, 1e-4, momentum=0.9, foreach=False),
    "adam": lambda parameters: torch.optim.Adam(parameters, 1e-4, foreach=False),
}


def measure_training(
    module: nn.Module, x: torch.Tensor, optimizer: str = "momentum", dtype: torch.dtype | None = None
) -> MeasuredMemory:
    """The peak of the second training step, beside weights, state of the optimiser and input."""
    module.train()
    stepper = OPTIMIZERS[optimizer](module.parameters())

    def step() -> None:
        with torch.autocast("cpu", dtype=dtype or torch.bfloat16, enabled=dtype is not None):
            output = module(x)
            loss = loss_of(output)
        loss.backward()
        stepper.step()

    step()
    stepper.zero_grad(set_to_none=True)
    return measure(step)


def measure_cuda(module: nn.Module, x: torch.Tensor, training: bool) -> MeasuredMemory:
    """The same on a GPU, by torch's own statistics, which hold the workspaces of kernels too."""
    stepper = OPTIMIZERS["momentum"](module.parameters())

    def run() -> None:
        if not training:
            with torch.no_grad():
                module(x)
            return
        stepper.zero_grad(set_to_none=True)
        loss_of(module(x)).backward()
        stepper.step()

    run()
    stepper.zero_grad(set_to_none=True)
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    run()
    torch.cuda.synchronize()
    most = torch.cuda.max_memory_allocated() - before
    return MeasuredMemory(most, most)
