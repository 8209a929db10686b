"""Data sets: pictures and labels in three splits that share no picture, in the network's input shape."""

from cnnatomy.data.dataset import Data, Normalisation, Report, Split, load, load_labelled, open_source
from cnnatomy.data.images import PictureError, fit_picture, read_picture

__all__ = [
    "Data",
    "Normalisation",
    "PictureError",
    "Report",
    "Split",
    "fit_picture",
    "load",
    "load_labelled",
    "open_source",
    "read_picture",
]
