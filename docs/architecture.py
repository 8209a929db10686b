"""Draws `architecture.svg`, the rooms of the package and which imports which: `python docs/architecture.py`.

Read from the source (`tests/imports.py`). A room stands above those that it imports; an arrow that follows from others
is left out, and so are those to `errors` and `limits`, which every room may import. Imports inside functions count,
those for types alone do not.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

DOCS = Path(__file__).parent
sys.path.insert(0, str(DOCS.parent / "tests"))

from imports import graph, room  # noqa: E402  it is no package

Rooms = Mapping[str, set[str]]

WIDTH, HEIGHT, GAP, FLOOR = 104, 30, 26, 78
"""Of a box, between boxes, and from one floor to the next, in pixels."""

EVERYWHERE = {"errors", "limits"}
"""Every room may import these."""

CONVENIENCES = {("design", "analysis")}
"""`network.account()` fetches, inside itself, what lives on a higher floor: see tests/test_house.py."""


def rooms() -> dict[str, set[str]]:
    """Each room -> the rooms whose files its own import; the package's own `__init__` is called cnnatomy."""
    found: dict[str, set[str]] = {}
    for module, others in graph().items():
        below = found.setdefault(room(module), set())
        below |= {room(other) for other in others} - EVERYWHERE
    return {
        name: {other for other in below - {name} if (name, other) not in CONVENIENCES}
        for name, below in found.items()
        if name not in EVERYWHERE
    }


def floors(edges: Rooms) -> dict[str, int]:
    """The floor of each room: above all that it imports, and right below the lowest that imports it."""
    found: dict[str, int] = {}

    def floor(name: str) -> int:
        if name not in found:
            found[name] = 1 + max((floor(other) for other in edges[name]), default=-1)
        return found[name]

    for name in sorted(edges, key=floor, reverse=True):
        found[name] = min((found[other] - 1 for other in edges if name in edges[other]), default=found[name])
    return found


def reduced(edges: Rooms) -> dict[str, set[str]]:
    """Without the arrows that follow from two or more others."""

    def reach(name: str) -> set[str]:
        return edges[name].union(*(reach(other) for other in edges[name]))

    return {name: below - set().union(*(reach(other) for other in below)) for name, below in edges.items()}


def drawing() -> str:
    """The SVG."""
    edges = rooms()
    level, arrows = floors(edges), reduced(edges)
    rows: dict[int, list[str]] = {}
    for name in sorted(edges):
        rows.setdefault(level[name], []).append(name)
    place: dict[str, float] = {}
    for number in sorted(rows):  # from below: over the middle of what it imports
        wished = {name: _middle([place[other] for other in arrows[name]]) for name in rows[number]}
        rows[number].sort(key=lambda name: (wished[name], name))
        start = -(len(rows[number]) - 1) * (WIDTH + GAP) / 2
        place |= {name: start + i * (WIDTH + GAP) for i, name in enumerate(rows[number])}
    wide = max(len(row) for row in rows.values()) * (WIDTH + GAP) + GAP
    high = len(rows) * FLOOR + GAP
    x = {name: round(at + wide / 2) for name, at in place.items()}
    y = {name: high - GAP - HEIGHT // 2 - level[name] * FLOOR for name in edges}
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide} {high}" width="{wide}" height="{high}"'
        ' font-family="sans-serif" font-size="13">',
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0 0 8 4 0 8z" fill="#777"/></marker></defs>',
        f'<rect width="{wide}" height="{high}" fill="#fff"/>',
    ]
    for name in sorted(edges):
        lines.append(
            f'<rect x="{x[name] - WIDTH // 2}" y="{y[name] - HEIGHT // 2}" width="{WIDTH}" height="{HEIGHT}" rx="4"'
            f' fill="#eef3fa" stroke="#357"/><text x="{x[name]}" y="{y[name] + 5}" text-anchor="middle">{name}</text>'
        )
    for name in sorted(edges):
        for other in sorted(arrows[name]):
            top, bottom = y[name] + HEIGHT // 2, y[other] - HEIGHT // 2
            lines.append(
                f'<path d="M{x[name]} {top}C{x[name]} {top + 30} {x[other]} {bottom - 30} {x[other]} {bottom}"'
                ' fill="none" stroke="#777" stroke-width="1.3" marker-end="url(#tip)"/>'
            )
    return "\n".join([*lines, "</svg>"]) + "\n"


def _middle(places: list[float]) -> float:
    return sum(places) / len(places) if places else 0.0


if __name__ == "__main__":
    (DOCS / "architecture.svg").write_text(drawing(), encoding="utf-8")
