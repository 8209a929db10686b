"""Training: recipes, and fitting, which makes a `Trained`."""

from cnnatomy.runs.trained import Trained
from cnnatomy.training.fitting import fit
from cnnatomy.training.initialisation import initialise
from cnnatomy.training.recipes import RECIPES, recipe
from cnnatomy.training.schema import Recipe, changed

__all__ = ["RECIPES", "Recipe", "Trained", "changed", "fit", "initialise", "recipe"]
