"""Data sets: images and labels in three splits that share no image, in the network's input shape."""

from cnnatomy.data.dataset import load, load_labelled, open_source
from cnnatomy.data.images import ImageError, fit_image, read_image
from cnnatomy.data.parts import Data, Normalisation, Report, Split

__all__ = [
    "Data",
    "ImageError",
    "Normalisation",
    "Report",
    "Split",
    "fit_image",
    "load",
    "load_labelled",
    "open_source",
    "read_image",
]
