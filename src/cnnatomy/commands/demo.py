"""The command that shows the main job from end to end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cnnatomy.commands.one_run import trained_by, what_next
from cnnatomy.commands.options import account_of, device_option, needs_training
from cnnatomy.commands.requests import Request
from cnnatomy.commands.trained import print_predictions

if TYPE_CHECKING:
    from cnnatomy.runs import Trained


@click.command()
@click.option("--out", type=click.Path(path_type=Path), help="Run folder.  [default: runs/demo, or the next free name]")
@click.option(
    "--seed", type=click.IntRange(0), default=0, show_default=True, help="Of weights, order and augmentation."
)
@device_option
def demo(out: Path | None, seed: int, device: str) -> None:
    """The main job in a minute: show and criticise LeNet-5, train it on real digits, evaluate it, predict images."""
    needs_training()
    from cnnatomy.report import reports
    from cnnatomy.report.findings import in_short

    lenet = account_of("lenet-5", 10)
    click.echo("1. What LeNet-5 costs and sees (cnnatomy show lenet-5)\n")
    click.echo(reports.show(lenet, None, "table"))
    click.echo("\n2. What a good designer would object to today (cnnatomy critique lenet-5)\n")
    click.echo(in_short(lenet))

    from cnnatomy.files import writing_to

    place = out or _free_name(Path("runs/demo"))
    command = "cnnatomy train lenet-5 --data digits --recipe lenet-5"
    click.echo(f"\n3. Train it on 1,797 real handwritten digits ({command})\n")
    request = Request(
        "lenet-5", "digits", place, recipe="lenet-5", changes={"seed": seed}, device=device, remedy="name another one"
    )
    with _one_thread():
        folder, trained = trained_by(request)
    assert trained is not None
    assert trained.outcome is not None
    click.echo(f"\n4. Predict images that it has never seen (cnnatomy predict {place} IMAGE...)\n")
    with writing_to(place):
        paths = _save_examples(trained, place / "examples")
    print_predictions(trained, paths, top=3)
    test = trained.outcome.test
    right = round(test["top_1"] * test.images)
    click.echo(f"\nMeasured: {test['top_1']:.2%} of the test split, {right} of {test.images} digits, are recognised.")
    click.echo(what_next(folder))
    click.echo(f"  cnnatomy predict {place} {paths[0]}")
    click.echo("  cnnatomy train lenet-5 --data fashion-mnist     (after apt-get install dataset-fashion-mnist)")
    click.echo("  cnnatomy compare lenet-5 alexnet resnet-50")


def _save_examples(trained: Trained, folder: Path, count: int = 6) -> list[Path]:
    """Saves images of the test split of a run's data as PNG, named by their class; the paths."""
    from PIL import Image

    from cnnatomy.data import load

    data = load(trained.run.source, trained.run.shape, trained.run.loading)
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    images, labels = next(iter(data.test.batches(count)))
    assert not isinstance(labels, dict)
    for number, (image, label) in enumerate(zip(images.numpy(), labels.tolist(), strict=True), 1):
        paths.append(folder / f"example-{number}-of-class-{data.classes[label]}.png")
        Image.fromarray(image[0] if len(image) == 1 else image.transpose(1, 2, 0)).save(paths[-1])
    return paths


def _free_name(folder: Path) -> Path:
    """`folder`, or `folder-2`, `folder-3`, ... where that exists."""
    number, found = 1, folder
    while found.exists():
        number += 1
        found = folder.with_name(f"{folder.name}-{number}")
    return found


@contextmanager
def _one_thread() -> Iterator[None]:
    """LeNet-5 is so small that a second thread gains little; beside other work, waiting for it costs ten times more."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


COMMANDS = (demo,)
