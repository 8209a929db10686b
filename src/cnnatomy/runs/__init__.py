"""What a trained network is: the run, its folder, its weights; how good it is, and what it predicts. No Lightning."""

from cnnatomy.runs.evaluation import evaluate
from cnnatomy.runs.folder import RunFolder, read_run
from cnnatomy.runs.run import Run
from cnnatomy.runs.trained import Epoch, Outcome, Prediction, Trained

__all__ = ["Epoch", "Outcome", "Prediction", "Run", "RunFolder", "Trained", "evaluate", "read_run"]
