"""Training: recipes, and fitting, which makes a `Trained`."""

from cnnatomy.runs.trained import Trained
from cnnatomy.training.fitting import fit
from cnnatomy.training.initialisation import initialise
from cnnatomy.training.recipe import Recipe, changed
from cnnatomy.training.recipes import RECIPES, recipe

__all__ = ["RECIPES", "Recipe", "Trained", "changed", "fit", "initialise", "recipe"]
