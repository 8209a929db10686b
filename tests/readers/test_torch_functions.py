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
from cnnatomy.layers.layer import Operations
from cnnatomy.readers.torch import functions, handlers, resize, rules, views
from helpers import flops

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


def operations(module: nn.Module, *inputs: object) -> Operations:
    got = account(cn.read(module.eval(), *inputs))
    assert got.totals.not_counted == 0
    return Operations(*map(sum, zip(*(row.operations for row in got.rows), strict=True)))


class Nearest(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.interpolate(x, size=(5, 7), mode="nearest-exact")


class Transformed(nn.Module):
    """A spatial transformer's grid: each of its pixels is a product of three numbers and two rows."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.affine_grid(x, [1, 1, 5, 7], align_corners=False)


class Blocks(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.block_diag(x[0], x[0])


def test_functions_that_move_pixels_and_numbers() -> None:
    assert operations(Nearest(), (3, 8, 8)) == Operations()
    assert operations(Transformed(), (2, 3)) == Operations(mac=5 * 7 * 2 * 3)
    assert operations(Blocks(), (2, 3)) == Operations()


def test_a_bag_of_vectors_is_added_and_divided() -> None:
    tokens = torch.tensor([[1, 2, 3]])
    assert operations(nn.EmbeddingBag(4, 5, mode="sum"), tokens) == Operations(add=15)
    assert operations(nn.EmbeddingBag(4, 5, mode="mean"), tokens) == Operations(add=15, divide=5)
    assert operations(nn.EmbeddingBag(4, 5, mode="max"), tokens) == Operations(compare=15)


def test_weight_norm_divides_each_row_by_its_length() -> None:
    plain = operations(nn.Linear(6, 4), (6,))
    normed = operations(nn.utils.parametrizations.weight_norm(nn.Linear(6, 4)), (6,))
    # 24 squares and their sums, 4 roots, 4 quotients, 24 products
    assert normed == Operations(
        *map(sum, zip(plain, Operations(multiply=48, add=24, divide=4, exponential=4), strict=True))
    )


class Masked(nn.Module):
    """One head of scores, masked in three ways."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.scaled_dot_product_attention(x[:, None], x[:, None], x[:, None], torch.ones(3, 5, 5))


def test_a_mask_of_more_heads_than_the_queries() -> None:
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        right = flops(Masked(), torch.rand(1, 5, 8))
    assert 2 * operations(Masked(), (5, 8)).mac == right
