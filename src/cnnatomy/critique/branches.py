"""The branches that run side by side from a fork to a join."""

from __future__ import annotations

import heapq
from collections.abc import Mapping

from cnnatomy.critique.study import Study
from cnnatomy.design.graph import Node


def branches(study: Study, join: Node, position: Mapping[Node, int]) -> list[list[Node]]:
    """The nodes of each branch that ends in a join, and whose maps nobody else reads; none where there are not two.

    Paths that have a node in common are one branch; the node from which all of them come is of none. `position` numbers
    the nodes of the graph in order.
    """
    ends = [x for x in dict.fromkeys(join.inputs) if x.node is not None and study.readers[x] == [join]]
    ends = [x for x in ends if x not in study.graph.outputs]
    if len(ends) < 2:
        return []
    owner: dict[Node, int] = {}  # node -> the branch that it was found in
    joined = list(range(len(ends)))  # branch -> a branch that it is part of, in the end itself (a union-find)
    count = len(ends)

    def whole(branch: int) -> int:
        while joined[branch] != branch:
            joined[branch] = branch = joined[joined[branch]]
        return branch

    numbers = {x: i for i, x in enumerate(ends)}
    waiting = {x.node: position[x.node] for x in ends if x.node is not None}
    queue = [(-i, id(node), node) for node, i in waiting.items()]
    heapq.heapify(queue)
    while queue:
        node = heapq.heappop(queue)[2]
        x = node.output
        if x in study.graph.outputs or not all(r in owner or (r is join and x in numbers) for r in study.readers[x]):
            continue
        found = {whole(numbers[x] if r is join else owner[r]) for r in study.readers[x]}
        if len(found) > 1 and len(found) == count:
            break
        owner[node] = min(found)
        count -= len(found) - 1
        for other in found:
            joined[other] = owner[node]
        for x in node.inputs:
            if x.node is not None and x.node not in waiting:
                waiting[x.node] = position[x.node]
                heapq.heappush(queue, (-position[x.node], id(x.node), x.node))
    parts: dict[int, list[Node]] = {whole(branch): [] for branch in joined}
    for node, branch in owner.items():
        parts[whole(branch)].append(node)
    return [part[::-1] for part in parts.values()] if len(parts) > 1 else []
