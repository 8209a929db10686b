"""What the commands `train`, `evaluate`, `predict` and `demo` do, on a console."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from cnnatomy.analysis import account
from cnnatomy.data import Data, load, open_source
from cnnatomy.data.dataset import Progress as Report
from cnnatomy.errors import UserError
from cnnatomy.network import Network
from cnnatomy.readers import resolve
from cnnatomy.readers.listed import ListedNetwork
from cnnatomy.training import run_folder, weights
from cnnatomy.training.evaluate import Evaluation
from cnnatomy.training.files import writing_to
from cnnatomy.training.fit import Fitted, fit
from cnnatomy.training.predict import Prediction, Trained
from cnnatomy.training.progress import ShowProgress
from cnnatomy.training.recipe import Recipe, recipe
from cnnatomy.training.run_folder import Run, RunFolder

MOST_CLASSES = 25
"""Up to here the confusion matrix is printed; it is in summary.json in any case."""
WORTH_A_BAR = 5_000
"""Pictures whose reading takes long enough to show."""


def out_console() -> Console:
    """Standard output; colours and a bar on a terminal, plain text elsewhere."""
    return Console(highlight=False, soft_wrap=True)


def choose_recipe(name: str | None, changes: dict[str, Any], before: Run | None = None) -> Recipe:
    """The named recipe, else that of the run that is resumed, else the default, with whatever `changes` is not None."""
    base = recipe(name or "default") if name or before is None else before.recipe
    return dataclasses.replace(base, **{key: value for key, value in changes.items() if value is not None})


@dataclasses.dataclass(frozen=True)
class Request:
    """What `train` was asked for: names as the user typed them."""

    network: str
    source: str | None = None
    out: Path | None = None
    shape: tuple[int, int, int] | None = None
    recipe: str | None = None
    changes: dict[str, Any] = dataclasses.field(default_factory=dict)
    device: str = "auto"
    resume: bool = False


def train(request: Request, console: Console) -> tuple[RunFolder, Fitted | None]:
    """Trains as requested, with progress on the console; the run folder, and None where it was complete before."""
    place = RunFolder(request.out or Path("runs") / _run_name(request.network))
    before = None
    if request.resume:
        _, before = run_folder.read_run(place.path)
    else:
        run_folder.check_free(place)
    pictures = open_source(request.source or (before.source if before else "digits"))
    network = resolve(request.network, len(pictures.classes), request.shape or (before.shape if before else None))
    chosen = choose_recipe(request.recipe, request.changes, before)
    if before is not None and before.network != network:
        raise UserError(f"{place.path} holds a run of another network, {before.name}: name another folder with --out")
    shape = run_folder.picture_shape(network)
    with _reading(console, len(pictures)) as report:
        data = load(pictures, shape, progress=report)
    for line in describe(network, data, chosen):
        console.print(line, markup=False)
    if place.summary.exists() and before is not None and before.as_dict() == Run.of(network, data, chosen).as_dict():
        console.print(f"{place.path} is complete already: nothing to do", markup=False)
        return place, None
    try:
        fitted = fit(
            network,
            data,
            chosen,
            place.path,
            resume=request.resume,
            device=request.device,
            watch=[ShowProgress(console)],
        )
    except KeyboardInterrupt:
        if run_folder.is_run(place):
            console.print("Interrupted; everything up to the last complete epoch is kept. To go on:")
            console.print(f"  cnnatomy train {request.network} --out {place.path} --resume", markup=False)
        raise
    _show_training(fitted, console)
    show_evaluation(fitted.test, f"test split of {data.source}, which training never saw", console)
    return place, fitted


def what_next(place: RunFolder) -> str:
    """Where everything is and what to type next."""
    return (
        f"\nThe run is in {place.path}: design.yaml, model.safetensors, metrics.csv, summary.json\n"
        f"  cnnatomy predict {place.path} IMAGE...     what is on your own pictures\n"
        f"  cnnatomy evaluate {place.path}             every class, and the confusion matrix\n"
        f"  tensorboard --logdir {place.tensorboard}"
    )


def demo(out: Path | None, seed: int, device: str, console: Console) -> None:
    """Trains LeNet-5 on the digits, evaluates it, saves some pictures of the test split and predicts them."""
    place = RunFolder(out or free_name(Path("runs/demo")))
    console.print(
        "\n3. Train it on 1,797 real handwritten digits (cnnatomy train lenet-5 --data digits --recipe lenet-5)\n"
    )
    request = Request("lenet-5", "digits", place.path, recipe="lenet-5", changes={"seed": seed}, device=device)
    with _one_thread():
        _, fitted = train(request, console)
    assert fitted is not None
    console.print(
        f"\n4. Predict pictures that it has never seen (cnnatomy predict {place.path} IMAGE...)\n", markup=False
    )
    trained = Trained.load(place.path, device)
    with writing_to(place.path):
        paths = save_examples(trained, place.path / "examples")
    show_predictions(trained.predict(paths, most=3), console, console)
    test = fitted.test
    right = round(test.top_1 * test.images)
    console.print(f"\nMeasured: {test.top_1:.2%} of the test split, {right} of {test.images} digits, are recognised.")
    console.print(what_next(place), markup=False)
    console.print(f"  cnnatomy predict {place.path} {paths[0]}", markup=False)
    console.print("  cnnatomy train lenet-5 --data fashion-mnist     (after apt-get install dataset-fashion-mnist)")
    console.print("  cnnatomy compare lenet-5 alexnet resnet-50")


def describe(network: Network | ListedNetwork, data: Data, chosen: Recipe) -> list[str]:
    """Network, data and recipe in a few lines."""
    sizes = ", ".join(f"{len(getattr(data, name)):,} {name}" for name in ("train", "val", "test"))
    shape = "x".join(map(str, data.shape))
    counted = account(network.graph(data.shape), network.name)
    first = f"{network.name}: {counted.totals.parameters:,} parameters, input {shape}"
    if isinstance(network, ListedNetwork):
        last = next((row for row in reversed(counted.rows) if row.parameters), counted.rows[-1])
        first += f"; classified by {last.path}, {last.layer}"
    return [
        first,
        f"{data.source}: {len(data.classes)} classes, {sizes}",
        *data.report.lines(),
        f"SGD, learning rate {chosen.learning_rate:g}, momentum {chosen.momentum:g},"
        f" weight decay {chosen.weight_decay:g}, batches of {chosen.batch_size},"
        f" {chosen.epochs} epochs at most, seed {chosen.seed}",
    ]


def show_evaluation(result: Evaluation, what: str, console: Console, format: str = "table") -> None:
    """Top-1, top-5, a line a class, and the confusion matrix of a few classes; or everything as JSON."""
    if format == "json":
        print(json.dumps({"data": what, **result.as_dict()}, indent=2, ensure_ascii=False), file=console.file)
        return
    console.print(f"{what}: {result.images:,} pictures", markup=False)
    console.print(f"top-1 {result.top_1:.2%}  top-5 {result.top_5:.2%}  loss {result.loss:.4f}")
    matrix = len(result.classes) <= MOST_CLASSES
    table = Table(box=None, pad_edge=False)
    table.add_column("class")
    for heading in ("precision", "recall", "pictures"):
        table.add_column(heading, justify="right")
    if matrix:
        table.add_column("taken for, in the order of the classes")
    wide = len(str(max(max(row) for row in result.confusion)))
    for name, precision, recall, row in zip(
        result.classes, result.precision, result.recall, result.confusion, strict=True
    ):
        shares = ["-" if share is None else f"{share:.1%}" for share in (precision, recall)]
        counts = " ".join(f"{count or '.':>{wide}}" for count in row)
        table.add_row(_plain(name), *shares, f"{sum(row):,}", *([counts] if matrix else []))
    console.print(table)


def show_predictions(
    predictions: Iterator[Prediction], console: Console, errors: Console, format: str = "table"
) -> bool:
    """Prints each prediction (errors apart, but in JSON and CSV among the rest); whether every file could be read."""
    sound, records = True, []
    if format == "csv":
        print("image,rank,class,probability,error", file=console.file)
    for prediction in predictions:
        sound &= not prediction.error
        if prediction.error:
            errors.print(f"cnnatomy: {prediction.path}: {prediction.error}", markup=False)
        if format == "json":
            records.append(_record(prediction))
        elif format == "csv":
            print(_csv_lines(prediction), end="", file=console.file)
        elif not prediction.error:
            shares = "  ".join(f"{name} {probability:.1%}" for name, probability in prediction.classes)
            console.print(f"{prediction.path}: {shares}", markup=False)
    if format == "json":
        print(json.dumps(records, indent=2, ensure_ascii=False), file=console.file)
    return sound


def save_examples(trained: Trained, folder: Path, count: int = 6) -> list[Path]:
    """Saves pictures of the test split of a run's data as PNG, named by their class; the paths."""
    from PIL import Image

    data = load(trained.run.source, trained.run.shape, trained.run.split_seed)
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    images, labels = next(iter(data.test.batches(count)))
    for number, (image, label) in enumerate(zip(images.numpy(), labels.tolist(), strict=True), 1):
        paths.append(folder / f"example-{number}-of-class-{data.classes[label]}.png")
        Image.fromarray(image[0] if len(image) == 1 else image.transpose(1, 2, 0)).save(paths[-1])
    return paths


def free_name(folder: Path) -> Path:
    """`folder`, or `folder-2`, `folder-3`, ... where that exists."""
    number, found = 1, folder
    while found.exists():
        number += 1
        found = folder.with_name(f"{folder.name}-{number}")
    return found


def evaluate(path: Path, source: str | None, device: str, format: str, console: Console) -> None:
    """Evaluates a run on its test split or on other data."""
    result, what = Trained.load(path, device).evaluate(source)
    show_evaluation(result, what, console, format)


def predict(path: Path, images: Sequence[Path], device: str, format: str, console: Console) -> bool:
    """Predicts pictures; whether every file could be read."""
    return show_predictions(
        Trained.load(path, device).predict(images), console, Console(stderr=True, soft_wrap=True), format
    )


def _run_name(network: str) -> str:
    path = Path(network.lower().rpartition(":")[2])  # of python:package.module:callable the last part
    return path.stem if path.suffix in (".yaml", ".yml", ".onnx", ".prototxt") else path.name


def _show_training(fitted: Fitted, console: Console) -> None:
    seconds = sum(row.seconds for row in fitted.rows)
    ended = f"stopped early after {len(fitted.rows)}" if fitted.stopped_early else f"{len(fitted.rows)}"
    console.print(
        f"{ended} epochs in {seconds:.1f} s; best by validation: epoch {fitted.best.epoch},"
        f" loss {fitted.best.val_loss:.4f}, accuracy {fitted.best.val_accuracy:.2%}"
    )


@contextmanager
def _one_thread() -> Iterator[None]:
    """LeNet-5 is so small that a second thread gains little; beside other work, waiting for it costs ten times more."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _reading(console: Console, count: int) -> Iterator[Report | None]:
    if not console.is_terminal or count < WORTH_A_BAR:
        yield None
        return
    columns = [TextColumn("reading pictures"), BarColumn(None), MofNCompleteColumn(), TimeRemainingColumn()]
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=count)
        yield lambda done, total: bar.update(task, completed=done) if done % 256 == 0 or done == total else None


def _record(prediction: Prediction) -> dict[str, Any]:
    if prediction.error:
        return {"image": str(prediction.path), "error": prediction.error}
    classes = [{"class": name, "probability": probability} for name, probability in prediction.classes]
    return {"image": str(prediction.path), "predictions": classes}


def _csv_lines(prediction: Prediction) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    for rank, (name, probability) in enumerate(prediction.classes, 1):
        writer.writerow([prediction.path, rank, name, f"{probability:.6f}", ""])
    if prediction.error:
        writer.writerow([prediction.path, "", "", "", prediction.error])
    return text.getvalue()


def _plain(text: str) -> str:
    from rich.markup import escape

    return escape(text)


def take_weights(
    network: Network | ListedNetwork,
    source: str,
    pretrained: bool,
    out: Path | None,
    run: Path | None,
    pairs: bool,
    console: Console,
) -> None:
    """What `weights` does: transplants, says what it did, and writes a file or a run folder where one is wanted."""
    if out is not None and out.suffix != ".safetensors":
        raise UserError(f"{out}: weights are written as .safetensors; for a run folder, use --run")
    if run is not None:
        run_folder.check_free(RunFolder(run))
    done = weights.transplant(network, source, pretrained)
    if pairs:
        for ours, theirs in done.pairs:
            console.print(f"{ours:<40} {theirs}", markup=False)
    console.print(f"{len(done.pairs)} layers of {network.name} took the weights of {source}.", markup=False)
    if done.reordered:
        console.print(f"{done.reordered} of them stand at another place in the order there.")
    if done.left_out:
        console.print(f"{len(done.left_out)} layers there, which do not run in evaluation, are left out:", end=" ")
        console.print(", ".join(done.left_out[:5]), markup=False)
    if done.difference is not None:
        console.print(
            f"Outputs on random input are equal: largest difference {done.difference:.1e}, relative, float64."
        )
    else:
        console.print("A file cannot be run: layers were matched by shape and order, and no outputs were compared.")
    if out is not None:
        weights.save(done.state, out)
        console.print(f"Weights: {out}", markup=False)
    if run is not None:
        place = RunFolder(run)
        run_folder.create(place, weights.as_run(network, source))
        weights.save(done.state, place.model)
        console.print(f"Run folder: {run}. Try: cnnatomy predict {run} IMAGE...", markup=False)
