"""Training: recipes, and fitting on Lightning, which makes a `Trained`."""

from cnnatomy.runs import libraries

libraries.load("lightning.pytorch", "torchmetrics.classification")  # with care, before anything here imports them

from cnnatomy.runs.trained import Trained  # noqa: E402
from cnnatomy.training.fitting import fit  # noqa: E402
from cnnatomy.training.initialisation import initialise  # noqa: E402
from cnnatomy.training.recipe import Recipe, changed  # noqa: E402
from cnnatomy.training.recipes import RECIPES, recipe  # noqa: E402

__all__ = ["RECIPES", "Recipe", "Trained", "changed", "fit", "initialise", "recipe"]
