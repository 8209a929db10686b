"""The classic charts of a comparison, drawn by matplotlib: accuracy against operations, and memory against depth."""

from __future__ import annotations

import html
import io
from collections.abc import Sequence
from itertools import cycle
from math import pi
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from cnnatomy.analysis import Account
from cnnatomy.analysis.memory.lifetimes import releases, running
from cnnatomy.errors import UserError
from cnnatomy.files import check_place, write_new, writing_to
from cnnatomy.layers.layer import elements

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

KINDS = (".svg", ".png", ".html")
LARGEST_BALL = 1800.0
"""Area of the largest ball in square points."""
BYTES = 4
"""Of a float32 number."""

PAGE = """<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><title>{title}</title>
<style>body {{ margin: 2em auto; max-width: 80em; font-family: sans-serif }} svg {{ width: 100%; height: auto }}</style>
</head>
<body>
{drawing}
</body>
</html>
"""


class Plotted(NamedTuple):
    """A network in a chart: what it is called, its account, and its top-1 accuracy in percent if that is known."""

    name: str
    account: Account
    top1: float | None


def check(file: Path) -> None:
    """Refuses a file that could not be drawn or written, before any work is done.

    Raises:
        UserError: saying what was expected.
    """
    from importlib.util import find_spec

    if file.suffix.lower() not in KINDS:
        raise UserError(f"{file}: a plot is an {', '.join(kind[1:] for kind in KINDS)} file, by its ending")
    check_place(file)
    if find_spec("matplotlib") is None:
        raise UserError("plots need matplotlib: pip install 'cnnatomy[plot]'")


def plot(networks: Sequence[Plotted], file: Path) -> list[str]:
    """Draws the charts into an SVG, PNG or HTML file, whole or not at all.

    Returns the names of the networks that the first chart leaves out, because their accuracy is not known.

    Raises:
        UserError: if the file cannot be written.
    """
    write(figure(networks), file, [network.name for network in networks])
    return [network.name for network in networks if network.top1 is None]


def write(drawing: Figure, file: Path, names: Sequence[str]) -> None:
    """Writes a drawing of what has these names into an SVG, PNG or HTML file, whole or not at all.

    Raises:
        UserError: if the file cannot be written.
    """
    check(file)
    content = _rendered(drawing, file.suffix.lower()[1:], names)
    with writing_to(file):
        write_new(file, content)


def figure(networks: Sequence[Plotted]) -> Figure:
    """Both charts side by side; the second alone if no accuracy is known."""
    from matplotlib import colormaps
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    known = [network for network in networks if network.top1 is not None]
    drawing = Figure(figsize=(15, 7) if known else (9, 7), dpi=100, layout="constrained")
    FigureCanvasAgg(drawing)
    axes = drawing.subplots(1, 2 if known else 1, squeeze=False)[0]
    palette = cycle(colormaps["tab20"].colors[0::2] + colormaps["tab20"].colors[1::2])  # type: ignore[attr-defined]
    colours = {id(network): colour for network, colour in zip(networks, palette, strict=False)}
    _memory(axes[-1], networks, colours)
    if known:
        _balls(axes[0], known, colours)
        drawing.canvas.draw()  # sizes are known from here on
        _label(axes[0], known)
    return drawing


def _balls(axes: Axes, networks: Sequence[Plotted], colours: dict[int, Any]) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    most = max(network.account.totals.parameters for network in networks)
    macs = [network.account.totals.macs / 1e9 for network in networks]
    for network, x in zip(networks, macs, strict=True):
        area = _area(network, networks)
        axes.scatter(x, network.top1 or 0.0, s=area, color=colours[id(network)], alpha=0.6, edgecolors="black")
    if max(macs) > 8 * min(macs):
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda number, _: f"{number:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
    axes.margins(0.2)
    axes.set_xlabel("multiply-accumulates for one image (GMACs)")
    axes.set_ylabel("published top-1 accuracy on ImageNet (%)")
    axes.set_title("Accuracy against operations; area: parameters")
    axes.grid(alpha=0.3)
    sizes = _round_sizes(most)
    balls = [axes.scatter([], [], s=LARGEST_BALL * n / most, color="lightgrey", edgecolors="black") for n in sizes]
    names = [f"{n / 1e6:g} M parameters" for n in sizes]
    axes.legend(balls, names, loc="lower right", labelspacing=1.8, borderpad=1.4, handletextpad=1.8, fontsize=9)


def _area(network: Plotted, among: Sequence[Plotted]) -> float:
    """Of its ball, in square points: proportional to the parameters, but never too small to be seen."""
    return max(LARGEST_BALL * network.account.totals.parameters / max(n.account.totals.parameters for n in among), 6)


def _round_sizes(most: int) -> list[float]:
    """Up to three round numbers of parameters to compare balls with."""
    sizes: list[float] = [digit * 10**power for power in range(3, 12) for digit in (1, 2, 5)]
    return [size for size in sizes if most / 60 <= size <= most * 0.7][::-1][::2][:3][::-1]


SPOTS = [(side, lift, reach) for reach in (1, 2, 3.5) for side, lift in ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1))]
SPOTS += [(side, lift, reach) for reach in (2, 3.5, 5) for side, lift in ((1, -1), (-1, 1), (-1, -1))]
"""Where a name may stand beside its ball: to the side, above or below, and how far off."""


def _label(axes: Axes, networks: Sequence[Plotted]) -> None:
    """Puts each name beside its ball, where it covers no ball and no other name; farther away where it is crowded."""
    from matplotlib.text import Text
    from matplotlib.transforms import Bbox

    scale = axes.get_figure(root=True).dpi / 72  # type: ignore[union-attr]
    taken: list[Any] = [axes.get_legend().get_window_extent()]  # type: ignore[union-attr]
    spots: list[tuple[Plotted, tuple[float, float], float]] = []
    for network in networks:
        at = (network.account.totals.macs / 1e9, network.top1 or 0.0)
        radius = (_area(network, networks) / pi) ** 0.5
        x, y = axes.transData.transform(at)
        half = 0.8 * radius * scale  # the corners of its square are free
        taken.append(Bbox.from_extents(x - half, y - half, x + half, y + half))
        spots.append((network, at, radius))
    for network, at, radius in sorted(spots, key=lambda spot: -spot[2]):
        for side, lift, reach in SPOTS:
            note = _note(axes, network.name, at, (side * (radius + 5 * reach), lift * (radius * 0.8 + 8 * reach)))
            note.get_window_extent()  # finds its position
            box = Text.get_window_extent(note).expanded(1.02, 1.05)  # without its line
            frame = axes.get_window_extent()
            clear = frame.x0 < box.x0 and box.x1 < frame.x1 and frame.y0 < box.y0 and box.y1 < frame.y1
            if (clear and not any(box.overlaps(other) for other in taken)) or (side, lift, reach) == SPOTS[-1]:
                taken.append(box)
                break
            note.remove()


def _note(axes: Axes, name: str, at: tuple[float, float], off: tuple[float, float]) -> Any:
    """A name so many points off the middle of a ball, with a thin line to it where it is far."""
    side = (off[0] > 0) - (off[0] < 0)
    line = {"arrowstyle": "-", "lw": 0.6, "alpha": 0.6}
    return axes.annotate(
        name,
        at,
        off,
        textcoords="offset points",
        ha={1: "left", 0: "center", -1: "right"}[side],
        va="center",
        fontsize=9,
        parse_math=False,
        arrowprops=line,
    )


def _memory(axes: Axes, networks: Sequence[Plotted], colours: dict[int, Any]) -> None:
    from matplotlib.ticker import FuncFormatter

    for network in networks:
        depths = memory_by_depth(network.account)
        style = {"color": colours[id(network)], "lw": 1.4, "marker": ".", "ms": 4}
        axes.plot(list(depths), list(depths.values()), label=network.name.lstrip("_"), **style)
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda number, _: f"{number:g}"))
    axes.set_xlabel("depth: layers with weights from the input")
    axes.set_ylabel("feature maps held at that depth, one image, float32 (MiB)")
    axes.set_title("Memory against depth")
    axes.grid(alpha=0.3)
    legend = axes.legend(loc="upper left", bbox_to_anchor=(1, 1), fontsize=9)
    for text in legend.get_texts():
        text.set_parse_math(False)


def memory_by_depth(account: Account) -> dict[int, float]:
    """Depth in layers with weights -> the most MiB of feature maps that are held while the network is there.

    A map is held from the layer that makes it to the last that reads it; one image, float32, at inference.
    """
    nodes = running(account.graph, training=False)
    depths = {row.node: row.weight_layers for row in account.rows}
    held = sum(elements(x.shape) for x in account.graph.inputs)
    most: dict[int, float] = {}
    for node, freed in zip(nodes, releases(account.graph, nodes), strict=True):
        held += elements(node.output.shape)
        most[depths[node]] = max(most.get(depths[node], 0), held * BYTES / 2**20)
        held -= sum(elements(x.shape) for x in freed)
    return dict(sorted(most.items()))


def _rendered(drawing: Figure, kind: str, names: Sequence[str]) -> bytes:
    from matplotlib import rc_context

    out = io.BytesIO()
    # text stays text, to be found and read aloud; the same comparison gives the same bytes
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "cnnatomy"}):
        if kind == "png":
            drawing.savefig(out, format="png")
            return out.getvalue()
        drawing.savefig(out, format="svg", metadata={"Date": None, "Title": ", ".join(names)})
    if kind == "svg":
        return out.getvalue()
    svg = out.getvalue().decode("utf-8")
    return PAGE.format(title=html.escape(", ".join(names)), drawing=svg[svg.index("<svg") :]).encode("utf-8")
