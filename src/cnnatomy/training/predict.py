"""A trained network put to use: what is on a picture, and how good it is on other data."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from cnnatomy.data import PictureError, load, load_labelled, open_source, read_picture
from cnnatomy.data.pictures import quiet_decoders
from cnnatomy.errors import UserError
from cnnatomy.training import run_folder
from cnnatomy.training.evaluate import Evaluation, evaluate
from cnnatomy.training.fit import EVALUATION_BATCH, choose_device
from cnnatomy.training.module import Classifier
from cnnatomy.training.run_folder import Run

TOGETHER = 64
"""Pictures that are decoded and run at once."""


@dataclass(frozen=True)
class Prediction:
    """The likeliest classes of one picture, (name, probability), likeliest first; or what is wrong with the file."""

    path: Path
    classes: tuple[tuple[str, float], ...] = ()
    error: str = ""


@dataclass(frozen=True, eq=False)
class Trained:
    """A run folder, loaded: the run and its network with the weights of the best epoch."""

    path: Path
    run: Run
    classifier: Classifier

    @classmethod
    def load(cls, path: str | Path, device: str = "auto") -> Trained:
        """Raises `UserError` where the folder is no run, or its weights are missing, broken or another network's."""
        chosen = choose_device(device)
        folder, run = run_folder.read_run(path)
        classifier = Classifier(run.network.build(run.shape), run.normalisation)
        run_folder.read_weights(folder.model, classifier.network, run.name)
        return cls(folder.path, run, classifier.to(chosen).eval())

    @torch.inference_mode()
    def probabilities(self, images: Tensor) -> Tensor:
        """Of each class, `(pictures, classes)`, for pictures of `(pictures, channels, rows, columns)`, 0 .. 255."""
        logits, _ = self.classifier.heads(self.classifier(images.to(self.classifier.mean.device)))
        return logits.softmax(1).cpu()

    def predict(self, paths: Sequence[str | Path], most: int = 5) -> Iterator[Prediction]:
        """One prediction a path, in order; a file that is no usable picture gets an `error` and stops nothing."""
        for start in range(0, len(paths), TOGETHER):
            yield from self._predict([Path(path) for path in paths[start : start + TOGETHER]], most)

    def evaluate(self, source: str | Path | None = None) -> tuple[Evaluation, str]:
        """On the run's own test split, or on other data with (some of) the same classes; and in words on what.

        Of other data the test split is taken where it brings one along, else every picture.
        Raises `UserError` where the run's own data has changed since, so that its splits may be others.
        """
        run, name = self.run, run_source(self.run.source if source is None else source)
        if name == run.source:
            data = load(name, run.shape, run.split_seed)
            if data.fingerprint != run.fingerprint:
                raise UserError(
                    f"{name} has changed since this run was trained: its test split may hold training pictures"
                )
            split, what = data.test, f"test split of {name}"
        else:
            split, what = load_labelled(name, run.shape, run.classes)
        return evaluate(self.classifier, split.batches(EVALUATION_BATCH), run.classes), what

    def _predict(self, paths: Sequence[Path], most: int) -> Iterator[Prediction]:
        found: dict[Path, np.ndarray] = {}
        errors: dict[Path, str] = {}
        with quiet_decoders():
            for path in paths:
                try:
                    found[path] = read_picture(path, self.run.shape)
                except PictureError as error:
                    errors[path] = str(error)
        shares = self.probabilities(torch.from_numpy(np.stack(list(found.values())))) if found else torch.empty(0)
        likeliest = dict(zip(found, shares, strict=True))
        for path in paths:
            if path in errors:
                yield Prediction(path, error=errors[path])
                continue
            values, places = likeliest[path].topk(min(most, len(self.run.classes)))
            names = [self.run.classes[place] for place in places.tolist()]
            yield Prediction(path, tuple(zip(names, values.tolist(), strict=True)))


def run_source(source: str | Path) -> str:
    """A data set's name as a run folder keeps it: an absolute path, or `digits`."""
    return open_source(source).source
