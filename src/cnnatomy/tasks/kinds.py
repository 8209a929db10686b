"""Every task by its name in run.json, and which of them a network and its data make."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_type_hints

from cnnatomy.design.graph import FeatureMap, Graph, Node, Scope
from cnnatomy.errors import UserError, nearest, quoted
from cnnatomy.layers.layer import elements
from cnnatomy.plain import checked
from cnnatomy.tasks.label import Label
from cnnatomy.tasks.maps import Keypoints, Mask, PixelNumbers
from cnnatomy.tasks.numbers import Labels, Numbers
from cnnatomy.tasks.objects import Objects
from cnnatomy.tasks.several import EarlyExits, Localised, SeveralHeads
from cnnatomy.tasks.task import Output, Target, Task

KINDS: dict[str, type[Task]] = {
    kind.kind: kind
    for kind in (Label, Labels, Numbers, Mask, PixelNumbers, Keypoints, Objects, EarlyExits, Localised, SeveralHeads)
}


def from_dict(record: Any, names: tuple[str, ...], source: str | Path) -> Task:
    """What `Task.as_dict` gave; `source` is the file for messages.

    Raises:
        UserError: naming what `Task.as_dict` does not give.
    """
    fields = checked(record, dict[str, Any], f"{source}: task")
    kind = fields.pop("kind", None)
    if kind not in KINDS:
        hint = nearest(str(kind), KINDS)
        raise UserError(f"{source}: task: kind: expected one of {', '.join(KINDS)}, got {quoted(str(kind))}.{hint}")
    chosen = KINDS[kind]
    hints = get_type_hints(chosen)
    known = {field.name for field in dataclasses.fields(chosen)} - {"names"}
    for name in fields:
        if name not in known:
            raise UserError(f"{source}: task: {kind} has no {quoted(name)}.{nearest(name, known)}")
    if "tasks" in fields:
        fields["tasks"] = {
            name: _part(part, f"{source}: task {name}")
            for name, part in checked(fields["tasks"], dict[str, Any], f"{source}: task: tasks").items()
        }
        return SeveralHeads(names, **fields)
    return chosen(names, **{name: checked(got, hints[name], f"{source}: task: {name}") for name, got in fields.items()})


def _part(record: Any, source: str) -> Task:
    fields = checked(record, dict[str, Any], source)
    return from_dict(fields, checked(fields.pop("names", None), tuple[str, ...], f"{source}: names"), source)


def fitting(task: Task, outputs: Sequence[Output], graph: Graph, target: Target) -> Task:
    """The task of a network and its data: several heads that all say the one label are early exits."""
    main = [output for output in outputs if not output.auxiliary]
    if type(task) is Label and len(main) > 1 and all(elements(output.shape) == len(task.names) for output in main):
        macs = macs_by_exit(graph)
        if len(macs) == len(main):
            return EarlyExits(task.names, task.groups, task.group_weight, macs=macs)
    return task.fitted(outputs, target)


def macs_by_exit(graph: Graph) -> tuple[int, ...]:
    """What an image has cost at each head, where each block of the body reads the one before and has a head of its own.

    Empty where the network is not of that form.
    """
    parts = {part.path: part for part in graph.root.children}
    tail, body, head = (parts.get(name) for name in ("tail", "body", "head"))
    if not isinstance(body, Scope) or not isinstance(head, Scope) or tail is None:
        return ()
    blocks, heads = list(body.children), list(head.children)
    if len(blocks) != len(heads):
        return ()
    spent, costs, before = _macs(tail), [], _made(tail)
    for block, exit in zip(blocks, heads, strict=True):
        if tuple(block.inputs) != before or tuple(exit.inputs) != _made(block)[-1:]:
            return ()
        spent, before = spent + _macs(block), _made(block)
        spent += _macs(exit)
        costs.append(spent)
    return tuple(costs)


def _made(part: Node | Scope) -> tuple[FeatureMap, ...]:
    return (part.output,) if isinstance(part, Node) else part.outputs


def _macs(part: Node | Scope) -> int:
    if isinstance(part, Scope):
        return sum(map(_macs, part.children))
    return part.layer.operations([x.shape for x in part.inputs], part.output.shape).mac
