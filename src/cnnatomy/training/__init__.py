"""Training: recipes, fitting on Lightning, evaluation, the run folder, prediction."""

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
    "read_run",
    "recipe",
]
