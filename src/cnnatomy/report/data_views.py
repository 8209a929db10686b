"""Views of a data set: what is printed of them, and the rows of their sheets."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from math import log10
from typing import TYPE_CHECKING, Any, NamedTuple

from cnnatomy.layers.layer import dimensions
from cnnatomy.report.tables import Column, render, terminal_width

if TYPE_CHECKING:
    from cnnatomy.data.inspection.gathering import Gathered
    from cnnatomy.data.inspection.views import Components, Sampled, Spectrum, Whitened
    from cnnatomy.report.sheets.sheet import TileRow

VIEWS = {
    "pca": "mean image, principal components, and how much of the variance they hold",
    "whitening": "images before and after ZCA whitening, and the covariance after it",
    "dft": "mean spectrum of each class, and how its power falls with the frequency",
}
"""Views and what they show."""
SHARES = (0.5, 0.9, 0.95, 0.99)
"""Of the variance, for each of which it is told how many components hold it."""
MAX_COMPONENTS = 24
"""That are shown as images."""
MAX_CLASSES = 40
"""Of which a spectrum is shown."""
MAX_PROFILE = 12
"""Frequencies of the profile that are printed."""
BAR = 24


class View(NamedTuple):
    """A view as text, as plain data, and as rows of a sheet."""

    text: str
    record: dict[str, Any]
    rows: tuple[TileRow, ...]


def view(data: Gathered, name: str, images: int) -> View:
    """The view of this name; `images` are shown before and after whitening."""
    from cnnatomy.data.inspection import views

    found = views.sampled(data, grey=name == "dft")
    if name == "dft":
        return _dft(found, views.spectra(found, data.task.names, MAX_CLASSES))
    components = views.principal_components(found.rows)
    if name == "pca":
        return _pca(found, components)
    return _whitening(found, views.whiten(found.rows, components), images)


def _of(found: Sampled) -> tuple[str, dict[str, Any]]:
    text = f"of {len(found.rows):,} of {found.of:,} images as {dimensions(found.shape)}"
    return text, {"images": len(found.rows), "of": found.of, "shape": list(found.shape)}


def _pca(found: Sampled, components: Components) -> View:
    from cnnatomy.report.sheets.of_views import component_rows

    title, record = _of(found)
    rows = [{"share": share, "components": components.needed(share)} for share in SHARES]
    columns = [
        Column("share", "share of the variance", "{:.0%}".format),
        Column("components", "components", "{:,}".format, number=True),
    ]
    count, values = len(components.variances), found.rows.shape[1]
    title = f"principal components {title}; {count:,} have a variance, of {values:,} values an image"
    record |= {
        "name": "pca",
        "needed": rows,
        "components": count,
        "variances": components.variances.tolist(),
        "cumulative": components.cumulative.tolist(),
    }
    return View(render(columns, rows, "table", title), record, component_rows(found, components, MAX_COMPONENTS))


def _whitening(found: Sampled, white: Whitened, images: int) -> View:
    from cnnatomy.data.inspection.views import CLEAR, EPSILON
    from cnnatomy.report.sheets.of_views import whitened_rows

    title, record = _of(found)
    record |= {
        "name": "whitening",
        "epsilon": white.epsilon,
        "clear": white.clear,
        "pixels": white.rows.shape[1],
        "deviation": white.deviation,
        "rounding": white.rounding,
    }
    covariance = (
        f"covariance after it: the identity but for {white.deviation:.2g} along the {white.clear:,} components (of"
        f" {white.rows.shape[1]:,} values an image) whose variance is {CLEAR} times epsilon or more; along all but for"
        f" {white.rounding:.1e} what epsilon makes of it, variance / (variance + epsilon)"
    )
    text = f"ZCA whitening {title}, epsilon {white.epsilon:.3g} ({100 * EPSILON:g} % of the mean variance of a pixel)\n"
    text += textwrap.fill(covariance, terminal_width(), break_on_hyphens=False)
    return View(text, record, whitened_rows(found, white, images))


def _dft(found: Sampled, spectra: Sequence[Spectrum]) -> View:
    from cnnatomy.report.sheets.of_views import spectrum_row

    title, record = _of(found)
    rows = [{"class": each.name, "images": each.images, "exponent": each.exponent} for each in spectra]
    columns = [
        Column("class", "class", shortest=12),
        Column("images", "images", "{:,}".format, number=True),
        Column(
            "exponent", "power falls as 1/f to", lambda value: "-" if value is None else f"{value:.2f}", number=True
        ),
    ]
    parseval = max(each.parseval for each in spectra)
    record |= {
        "name": "dft",
        "parseval": parseval,
        "spectra": [
            row | {"frequencies": each.frequencies.tolist(), "power": each.power.tolist()}
            for row, each in zip(rows, spectra, strict=True)
        ],
    }
    title = f"spectra {title}, grey, under a Hann window; photographs of nature fall as about 1/f^2"
    text = render(columns, rows, "table", title) + "\n" + _profile(spectra[0])
    text += f"\nParseval: energy of pixels and spectra differ by {parseval:.1e} at most, relative"
    return View(text, record, (spectrum_row(spectra),))


def _profile(every: Spectrum) -> str:
    """The power of all images at some frequencies, a bar for its logarithm."""
    step = max(1, -(-len(every.frequencies) // MAX_PROFILE))  # the smallest images have no whole band
    some = list(zip(every.frequencies.tolist(), every.power.tolist(), strict=True))[::step]
    logs = [log10(max(power, 1e-12)) for _, power in some]
    low, high = min(logs, default=0.0), max(logs, default=0.0)
    rows = [
        {"frequency": frequency, "power": power, "bar": round(BAR * (log - low) / max(high - low, 1e-9)) + 1}
        for (frequency, power), log in zip(some, logs, strict=True)
    ]
    columns = [
        Column("frequency", "cycles a pixel", "{:.3f}".format, number=True),
        Column("power", "power", "{:.3g}".format, number=True),
        Column("bar", "logarithm", lambda length: "█" * length),
    ]
    return render(columns, rows, "table")
