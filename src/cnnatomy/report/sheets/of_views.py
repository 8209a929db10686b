"""Views of a data set as rows of a sheet."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cnnatomy.data.inspection.taking import evenly
from cnnatomy.data.inspection.views import Components, Floats, Sampled, Spectrum, Whitened
from cnnatomy.report.sheets.sheet import Tile, TileRow, factor_of, image_of

DEVIATIONS = 3.0
"""Standard deviations either way that are shown of what has no range of its own."""


def component_rows(found: Sampled, components: Components, most: int) -> tuple[TileRow, ...]:
    """The mean image, and the first components with the share of the variance that each holds."""
    shares = components.variances / components.total
    shown = [
        Tile(_image(_centred(row), found), f"{number}: {share:.1%}")
        for number, (row, share) in enumerate(zip(components.components[:most], shares[:most], strict=True), 1)
    ]
    return (
        TileRow("mean image", ((Tile(_image(_bytes(components.mean), found)),),)),
        TileRow("principal components (grey: 0), with their share of the variance", tuple((tile,) for tile in shown)),
    )


def whitened_rows(found: Sampled, white: Whitened, images: int) -> tuple[TileRow, ...]:
    """Images, evenly taken, each before and after."""
    spread = DEVIATIONS * max(float(white.rows.std()), 1e-12)
    groups = tuple(
        (
            Tile(_image(_bytes(found.rows[index]), found), "before"),
            Tile(_image(_bytes(0.5 + white.rows[index] / (2 * spread)), found), "after"),
        )
        for index in evenly(len(found.rows), images).tolist()
    )
    return (TileRow(f"before and after whitening (grey: 0, black and white: {DEVIATIONS:g} deviations)", groups),)


def spectrum_row(spectra: Sequence[Spectrum]) -> TileRow:
    """The mean logarithm of the amplitudes, frequency 0 in the middle; black and white mean the same in all."""
    low = min(float(each.amplitudes.min()) for each in spectra)
    high = max(float(each.amplitudes.max()) for each in spectra)
    tiles = []
    for each in spectra:
        share = (each.amplitudes - low) / max(high - low, 1e-12)
        factor = factor_of(*share.shape)
        exponent = "" if each.exponent is None else f" {each.exponent:.1f}"
        tiles.append(Tile(image_of(_bytes(share)[None], factor), f"{each.name}{exponent}"))
    return TileRow("mean log amplitude, and the exponent of its fall", tuple((tile,) for tile in tiles))


def _image(pixels: NDArray[np.uint8], found: Sampled) -> Image.Image:
    return image_of(pixels.reshape(found.shape), factor_of(*found.shape[1:]))


def _bytes(values: Floats) -> NDArray[np.uint8]:
    """From 0 to 1."""
    whole: NDArray[np.uint8] = np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8)
    return whole


def _centred(values: Floats) -> NDArray[np.uint8]:
    """0 as grey, the number farthest from it black or white."""
    return _bytes(0.5 + values / (2 * max(float(np.abs(values).max()), 1e-12)))
