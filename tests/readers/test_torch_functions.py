"""The tables of torch's functions: each function is in one of them, once."""

from __future__ import annotations

import ast
import inspect
from collections import Counter
from itertools import combinations

import torch
from torch import nn
from torch.nn import functional as F

import cnnatomy as cn
from cnnatomy.analysis import account
from cnnatomy.readers.torch import functions, handlers, resize, rules, views

# the tables of who handles a function, and those of what is known of the others: names, or functions themselves
HANDLERS = {"views.HANDLED": views.HANDLED, "rules.RULES": rules.RULES, "resize.RULES": resize.RULES}
NAMES = {"functions.COSTS": functions.COSTS, "functions.FREE": functions.FREE, "handlers.QUESTIONS": handlers.QUESTIONS}
NAMES |= {"functions.READS_VALUES": functions.READS_VALUES}


def test_no_function_is_in_two_tables():
    for tables in (HANDLERS, NAMES, HANDLERS | {"handlers.QUESTIONS": handlers.QUESTIONS}):
        for (first, one), (second, other) in combinations(tables.items(), 2):
            both = set(one) & set(other)
            assert not both, f"{', '.join(map(str, both))}: in {first} and in {second}; only one of them is read"


def test_no_function_has_two_costs():
    calls = [node for node in ast.walk(ast.parse(inspect.getsource(functions))) if isinstance(node, ast.Call)]
    tables = [call for call in calls if isinstance(call.func, ast.Name) and call.func.id == "_table"]
    words = Counter(word for table in tables for word in ast.literal_eval(table.args[2]).split())
    assert set(words) == set(functions.COSTS)
    twice = [word for word, times in words.items() if times > 1]
    assert not twice, f"{', '.join(twice)}: twice in functions.COSTS; only the last is read"


def test_arguments_may_have_the_names_that_torch_gives_them() -> None:
    class Named(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = torch.add(input=x, other=x)
            x = torch.transpose(input=x, dim0=1, dim1=2)
            return torch.mul(input=torch.relu(input=x), other=2)

    graph = cn.read(Named(), (3, 4))
    assert graph.outputs[0].shape == (4, 3)
    assert account(graph).totals.adds == account(graph).totals.multiplies == 12


def test_a_function_of_torch_without_a_rule_costs_what_torch_makes_of_it() -> None:
    class Composed(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return F.cosine_similarity(x, x.flip(1), dim=-1)

    totals = account(cn.read(Composed(), (3, 4))).totals
    assert totals.not_counted == 0
    # two norms of 3 vectors of 4, their quotients, and the product
    assert (totals.macs, totals.multiplies, totals.divides, totals.exponentials) == (0, 24 + 12, 24, 6)
