"""Training: recipes, fitting on Lightning, evaluation, the run folder, prediction."""

from cnnatomy.training import libraries  # isort: skip  # first: it imports Lightning with care

from cnnatomy.training.evaluate import Evaluation, evaluate
from cnnatomy.training.fit import Fitted, fit
from cnnatomy.training.initialise import initialise
from cnnatomy.training.predict import Prediction, Trained
from cnnatomy.training.recipe import RECIPES, Recipe, recipe
from cnnatomy.training.run_folder import Run, RunFolder, read_run

__all__ = [
    "RECIPES",
    "Evaluation",
    "Fitted",
    "Prediction",
    "Recipe",
    "Run",
    "RunFolder",
    "Trained",
    "evaluate",
    "fit",
    "initialise",
    "libraries",
    "read_run",
    "recipe",
]
