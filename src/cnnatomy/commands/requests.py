"""What a training was asked for on the command line, and what has to be read for it."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cnnatomy.commands.bars import reading
from cnnatomy.errors import ShapeError, UserError

if TYPE_CHECKING:
    from cnnatomy.data import Data, Loading
    from cnnatomy.design.network import Design
    from cnnatomy.runs import Run, RunFolder, Trained
    from cnnatomy.tasks.task import Task
    from cnnatomy.training import Recipe
    from cnnatomy.training.preparing import Plan


@dataclass(frozen=True)
class Request:
    """What `train` was asked for, or `data`, without a network: names as the user typed them."""

    network: str
    data: str | None = None
    out: Path | None = None
    input: tuple[int, int, int] | None = None
    recipe: str | None = None
    changes: dict[str, Any] = field(default_factory=dict)
    device: str = "auto"
    resume: bool = False
    settings: tuple[str, ...] = ()
    start: str | None = None
    memory: str | None = None
    loss: str | None = None
    transform: str | None = None
    seconds: float | None = None
    final: Path | None = None
    checkpoint_every: float = 300.0
    loggers: tuple[str, ...] = ()
    fit: str | None = None
    group: str | None = None
    workers: int | None = None
    hold: str | None = None
    folds: int | None = None
    fold: int = 0
    remedy: str = "add --resume to go on with it, or name another one with --out"
    design: Design | None = None
    base: Recipe | None = None
    grouping: dict[str, Any] = field(default_factory=dict)


def request_of(**options: Any) -> Request:
    """What was typed, or what a run file says, which options change."""
    known = {each.name for each in fields(Request)} - {"changes", "design", "base", "grouping"}
    given = {name: value for name, value in options.items() if name in known and value is not None}
    changes = {name: value for name, value in options.items() if name not in known and value is not None}
    if "freeze" in changes:
        changes["freeze"] = tuple(part.strip() for part in changes["freeze"].split(",") if part.strip())
    changes |= {name: given[name] for name in ("loss", "transform") if name in given}
    request = Request(**given, changes=changes)
    from cnnatomy.training import runfile

    if not runfile.is_run_file(request.network):
        return request
    from cnnatomy.data import recorded

    said = runfile.read(request.network)
    name = said.design if isinstance(said.design, str) else request.network
    return replace(
        request,
        network=name,
        design=None if isinstance(said.design, str) else said.design,
        data=request.data or (recorded(said.data) if said.data else None),
        out=request.out or (None if request.final else Path(said.out or Path("runs") / Path(request.network).stem)),
        input=request.input or said.input,
        start=request.start or said.start,
        base=said.recipe,
        grouping={"groups": said.groups} if said.groups is not None else {},
        device=request.device if request.device != "auto" else said.device or "auto",
        fit=request.fit or said.fit,
        group=request.group if request.group is not None else said.group,
    )


@dataclass(frozen=True)
class Ready:
    """Everything that training needs, and what is said of it; `network` is the design as it was given."""

    plan: Plan
    data: Data
    before: Run | None
    console: Any
    network: Design


def prepared(request: Request, place: RunFolder | None = None) -> Ready:
    """Reads network and data, and plans the training; the run in `place` is gone on with, where that was asked for."""
    from cnnatomy.data import load, open_source, recorded
    from cnnatomy.data.dataset import MEMORY
    from cnnatomy.machine import choose_device
    from cnnatomy.report.memory import parse_size
    from cnnatomy.runs.run import image_shape
    from cnnatomy.tasks import ends
    from cnnatomy.training import preparing, resuming
    from cnnatomy.training.progress import PipedConsole

    console = PipedConsole(highlight=False, soft_wrap=True)
    before = resuming.begun(place) if request.resume and place is not None else None
    recipe = recipe_of(request, before)
    if before is not None:
        recipe = resuming.settled(recipe, before)
    limit = parse_size(request.memory) if request.memory else None
    held = parse_size(request.hold, "--hold", least=0) if request.hold else MEMORY
    device = choose_device(request.device)
    images = open_source(request.data if request.data is not None else recorded(before.source) if before else "digits")
    images = images.grouped_by(request.group if request.group is not None else before.loading.group if before else "")
    network = _network(request, images.outputs, before)
    shape = image_shape(network)
    images.check(shape)
    if before is not None and place is not None:
        resuming.check_classes(place.path, before, images.task(shape).names, images.source)
        try:
            given, _ = ends.without_activation(network, shape, images.task(shape))
        except ShapeError as error:  # the run's own network fits the run's own images
            raise UserError(f"{place.path} holds a run of another network, {before.name}: {error}") from None
        resuming.check_network(place.path, before, given)
    start = _start(request, network)
    loading = _loading(request, start, before)
    if before is not None and place is not None and loading != before.loading:
        was, now = before.loading, loading
        raise UserError(
            f"{place.path} was begun with data read by {was}, now by {now}: give the same, or another folder"
        )
    if len(images):  # else `load` says that there are none
        preparing.split(network, shape, min(recipe.batch_size, len(images)), recipe, device, limit)
    with reading(len(images), console) as report:
        data = load(images, shape, loading, memory=held, workers=request.workers, progress=report)
    final = request.final is not None or (before is not None and before.change == preparing.FINAL)
    data = data.joined() if final else data
    data = _grouped(data, request, before)
    plan = preparing.plan(network, data, recipe, device, start=start, limit=limit, final=final)
    plan = replace(plan, loss=_own(request.loss), transform=_own(request.transform))
    return Ready(plan, data, before, console, network)


def _loading(request: Request, start: Trained | None, before: Run | None) -> Loading:
    """As asked for; else as the run that goes on reads its data; images are fitted as those of the first weights."""
    from cnnatomy.data import Loading

    base = before.loading if before is not None else Loading(fit=start.run.loading.fit) if start else Loading()
    group = base.group if request.group is None else request.group
    folds, fold = (base.folds, base.fold) if request.folds is None else (request.folds, request.fold)
    return replace(base, fit=request.fit or base.fit, group=group, folds=folds, fold=fold)


def _network(request: Request, outputs: int | None, before: Run | None) -> Design:
    from cnnatomy.readers import resolve

    shape = request.input or (before.shape if before else None)
    if request.design is not None:
        return request.design.replace(input=shape) if shape else request.design
    begun_elsewhere = request.start is not None or (before is not None and before.parent != "")
    return resolve(request.network, outputs, shape, new_head=begun_elsewhere, stored=begun_elsewhere)


def _start(request: Request, network: Design) -> Trained | None:
    """The trained network that gives the first weights, if one was named."""
    if request.start is None:
        return None
    from cnnatomy.readers import has_weights, resolve
    from cnnatomy.runs.weights.start import open_start

    if request.design is None and not request.network.startswith("python:"):
        # for its own input, as the weights are, but for sizes that a file leaves open
        open_sizes = request.input if has_weights(request.network) else None
        network = resolve(request.network, input=open_sizes, stored=True)
    return open_start(request.start, network, request.device)


def _grouping(task: Task) -> dict[str, Any]:
    """The groups of the classes of a run and their weight in the loss, where its data have one label."""
    from cnnatomy.tasks.label import Label

    return {name: getattr(task, name) for name in ("groups", "group_weight")} if task.learns == Label.kind else {}


def _grouped(data: Data, request: Request, before: Run | None) -> Data:
    """The same with groups of its classes; raises `UserError` where it has no classes, or other ones."""
    from cnnatomy.tasks.label import Label

    chosen = request.grouping or (_grouping(before.task) if before is not None else {})
    if not chosen:
        return data
    if data.task.kind != Label.kind:
        raise UserError(f"groups are of the classes of one label; {data.source} has the task {data.task.kind}")
    return replace(data, task=replace(data.task, **chosen))


def _own(name: str | None) -> Any:
    """A loss or a transform of one's own, where one was given on the command line."""
    from cnnatomy.tasks.losses import OWN

    if name is None or not name.startswith(OWN):
        return None
    from cnnatomy.readers.torch.names import load_callable

    return load_callable(name)


def again(request: Request) -> Request:
    """The request that trains once more what a run has chosen: its network, data, recipe, best epoch and cuts."""
    from cnnatomy.data import recorded
    from cnnatomy.readers import resolve
    from cnnatomy.runs import RunFolder
    from cnnatomy.runs import folder as run_folder
    from cnnatomy.training import resuming

    assert request.final is not None
    place, run = run_folder.read_run(request.final)
    if not run_folder.is_complete(RunFolder(request.final)):
        raise UserError(f"{request.final} is not complete: its choices are not made. Finish it with --resume")
    asked = request.design or resolve(request.network, len(run.classes), run.shape)
    if (asked.name or run.name) != run.name:
        raise UserError(f"{request.final} is a run of {run.name}, not of {asked.name}")
    return replace(
        request,
        network=str(place.design),
        design=run.network,
        data=request.data or recorded(run.source),
        input=run.shape,
        base=resuming.as_chosen(place, run),
        fit=request.fit or run.loading.fit,
        group=run.loading.group if request.group is None else request.group,
        grouping=_grouping(run.task),
        out=request.out or request.final.with_name(request.final.name + "-final"),
        start=request.start or run.parent or None,
    )


def recipe_of(request: Request, before: Run | None = None) -> Recipe:
    """The recipe that is named, else that of the run that goes on or of the run file, else the default; changed."""
    from cnnatomy.training import Recipe, changed
    from cnnatomy.training.recipes import find

    if request.recipe is not None:
        base = find(request.recipe).recipe
    elif before is not None:
        base = Recipe.of(before)
    else:
        base = request.base or find("default").recipe
    return changed(base, request.settings, **request.changes)
