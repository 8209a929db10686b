"""Einsum: sums of products by an equation over the axes of its inputs, one input after another."""

from __future__ import annotations

from string import ascii_letters

from cnnatomy.layers.layer import CHANNEL_AND_SPACE, ELEMENT, NO_OPERATIONS, Operations, Shape, elements
from cnnatomy.readers.onnx.call import NodeCall, OnnxResult
from cnnatomy.readers.onnx.values import Batch, Mapped


def einsum(call: NodeCall) -> OnnxResult:
    """A contraction, counted as torch computes it: from the left, two inputs at a time, as products of matrices.

    Where two have no axis to sum over they are multiplied, which makes no MACs; an axis of one alone is summed first.
    """
    terms, output = _terms(call)
    sizes: dict[str, int] = {}
    for term, value in zip(terms, call.inputs, strict=True):
        for label, n in zip(term, value.dims if value else (), strict=True):
            if sizes.setdefault(label, n) not in (n, 1) and n != 1:
                raise call.refusal(f"an axis of its equation is of size {sizes[label]} and {n}")
            sizes[label] = max(sizes[label], n)
    if missing := set(output) - sizes.keys():
        raise call.refusal(f"its equation makes an axis {min(missing)} that no input has")
    dims = tuple(sizes[label] for label in output)
    batch, images = _images(call, terms, output)
    costs = costs_of(terms, output, sizes)
    mixes = CHANNEL_AND_SPACE if costs.mac else ELEMENT
    return call.foreign(dims, Operations(*(n // images for n in costs)), mixes, batch=batch)


def _terms(call: NodeCall) -> tuple[list[str], str]:
    """The labels of the axes of each input and of the output; those of an ellipsis are capital letters of its own."""
    equation = call.text("equation").replace(" ", "")
    given, arrow, output = equation.partition("->")
    terms = given.split(",")
    if len(terms) != len(call.inputs) or None in call.inputs:
        raise call.refusal(f"its equation reads {len(terms)} inputs, it has {len(call.inputs)}")
    ranks = [len(value.dims) for value in call.inputs if value is not None]
    free = [letter for letter in reversed(ascii_letters) if letter not in equation]
    hidden = [rank - len(term) + 3 for term, rank in zip(terms, ranks, strict=True) if "..." in term]
    most = max(hidden, default=0)
    if most > len(free) or min(hidden, default=0) < 0:
        raise call.refusal(f"the axes of its equation {equation[:60]} are not those of its inputs")
    others = "".join(free[:most])
    named = [
        term.replace("...", others[most - (rank - len(term) + 3) :] if "..." in term else "")
        for term, rank in zip(terms, ranks, strict=True)
    ]
    if any(len(term) != rank or not set(term) <= set(ascii_letters) for term, rank in zip(named, ranks, strict=True)):
        raise call.refusal(f"the axes of its equation {equation[:60]} are not those of its inputs")
    if not arrow:  # those that stand once, in the order of the alphabet
        letters = "".join(terms).replace(".", "")
        return named, others + "".join(sorted(letter for letter in set(letters) if letters.count(letter) == 1))
    return named, output.replace("...", others)


def _images(call: NodeCall, terms: list[str], output: str) -> tuple[Batch | None, int]:
    """Where the images lie in the output, and how many share what is counted."""
    for term, value in zip(terms, call.inputs, strict=True):
        if isinstance(value, Mapped) and value.batch is not None:
            label = term[value.batch.axis]
            where = Batch(output.index(label), value.batch.outer) if label in output else None
            return where, call.model.images
    return None, 1


def costs_of(terms: list[str], output: str, sizes: dict[str, int]) -> Operations:
    """What all images together cost."""

    def size(labels: set[str]) -> int:
        shape: Shape = tuple(sizes[label] for label in labels)
        return elements(shape)

    macs = multiplies = adds = 0
    sets = [set(term) for term in terms]  # an axis that is named twice is a diagonal, which costs nothing
    for i, labels in enumerate(sets):  # what is of one input alone, and not of the output
        others = set(output).union(*sets[:i], *sets[i + 1 :])
        if not labels <= others:
            adds += size(labels)
            sets[i] = labels & others
    first, *rest = sets
    for i, labels in enumerate(rest):
        later = set(output).union(*rest[i + 1 :])
        both = first | labels
        if any(sizes[label] > 1 for label in both - later):
            macs += size(both)
        else:
            multiplies += size(both)
        first = both & later
    return NO_OPERATIONS._replace(mac=macs, multiply=multiplies, add=adds)
