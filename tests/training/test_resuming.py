"""Going on with a run: from a sound state, by one process at a time, with the same data."""

from __future__ import annotations

import dataclasses
import json
import logging
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from cnnatomy import Chain, Network, machine
from cnnatomy.data import Data, Frame, load
from cnnatomy.errors import UserError
from cnnatomy.files import writing_to
from cnnatomy.layers import Conv, Flatten, FullyConnected, MaxPool, ReLU
from cnnatomy.readers.yaml.source import plain_document
from cnnatomy.runs import RunFolder
from cnnatomy.runs import folder as run_folder
from cnnatomy.runs.memory import out_of_memory
from cnnatomy.tasks.label import Label
from cnnatomy.training import Recipe, Trained, changed, checkpoints, fit, preparing
from cnnatomy.training.progress import PipedConsole

RECIPE = Recipe(epochs=2)


def network(classes: int = 10, columns: int = 8) -> Network:
    return Network(
        tail=Chain(Conv(2, 3, padding=1), ReLU(), MaxPool(2)),
        body=Chain(MaxPool(2)),
        head=Chain(flatten=Flatten(), output=FullyConnected(classes)),
        input=(1, 8, columns),
        name="tiny",
    )


@pytest.fixture(scope="module")
def digits() -> Data:
    return load("digits", (1, 8, 8))


@pytest.fixture(scope="module")
def sound(digits: Data, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "sound"
    fit(network(), digits, RECIPE, folder)
    return folder


@pytest.fixture
def place(sound: Path, tmp_path: Path) -> RunFolder:
    copy = RunFolder(Path(shutil.copytree(sound, tmp_path / "run")))
    copy.summary.unlink()
    return copy


def test_a_flipped_bit_in_a_checkpoint_is_reported_or_changes_nothing(place: RunFolder) -> None:
    content = place.last.read_bytes()
    sound = checkpoints.read(place.last)["network"]
    reported = 0
    for i in range(200):
        at = round(i * (len(content) - 1) / 199)
        copy = bytearray(content)
        copy[at] ^= 1 << i % 8
        place.last.write_bytes(copy)
        try:
            found = checkpoints.read(place.last)["network"]
        except UserError:
            reported += 1
            continue
        assert found.keys() == sound.keys()
        assert all(torch.equal(found[name], sound[name]) for name in sound)
    assert reported > 60


@pytest.mark.parametrize("damage", ["flipped", "missing"])
def test_a_broken_checkpoint_is_replaced_by_the_one_before_and_ends_with_the_same_weights(
    place: RunFolder, sound: Path, digits: Data, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    content = bytearray(place.last.read_bytes())
    content[len(content) // 2] ^= 1
    place.last.unlink()
    if damage == "flipped":
        place.last.write_bytes(content)
    with caplog.at_level(logging.WARNING):
        fit(network(), digits, RECIPE, place.path, resume=True)
    (said,) = [record.getMessage() for record in caplog.records if record.name.startswith("cnnatomy")]
    assert said.endswith("; going on after epoch 1 from before-last.ckpt")
    assert place.model.read_bytes() == (sound / "model.safetensors").read_bytes()


def test_two_broken_checkpoints_get_one_message(place: RunFolder, digits: Data) -> None:
    for path in (place.last, place.before_last):
        path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(
        UserError, match=r"last\.ckpt is broken.*before-last\.ckpt is broken.*begins again with epoch 1"
    ):
        fit(network(), digits, RECIPE, place.path, resume=True)


def test_a_folder_in_which_a_process_trains_is_refused_until_that_has_ended(place: RunFolder, digits: Data) -> None:
    program = (
        "import sys, time\n"
        "from pathlib import Path; from cnnatomy.runs import RunFolder; from cnnatomy.runs import folder\n"
        "with folder.locked(RunFolder(Path(sys.argv[1]))): print('locked', flush=True); time.sleep(60)"
    )
    environment = {"PYTHONPATH": ":".join(sys.path)}
    other = subprocess.Popen([sys.executable, "-c", program, place.path], stdout=subprocess.PIPE, env=environment)
    try:
        assert other.stdout is not None
        assert other.stdout.readline() == b"locked\n"
        for again in (True, False):
            with pytest.raises(UserError, match="another process is training in it"):
                fit(network(), digits, RECIPE, place.path, resume=again)
        Trained.load(place.path, "cpu")
    finally:
        other.kill()
        other.communicate()
    fit(network(), digits, RECIPE, place.path, resume=True)


def test_a_lock_alone_takes_no_folder(tmp_path: Path) -> None:
    place = RunFolder(tmp_path / "new")
    with run_folder.locked(place):
        pass
    assert not place.path.exists()
    place.path.mkdir()
    place.lock.touch()
    run_folder.check_free(place)


def test_a_folder_whose_making_was_killed_is_free(tmp_path: Path, digits: Data) -> None:
    place = RunFolder(tmp_path / "new")
    place.path.mkdir()
    for name in (".lock", "design.yaml", ".run.json.27490.part"):
        (place.path / name).touch()
    fit(network(), digits, RECIPE, place.path)
    mine = RunFolder(tmp_path / "mine")
    mine.path.mkdir()
    mine.design.write_text("mine")
    with pytest.raises(UserError, match="mine exists already: name another folder"):
        fit(network(), digits, RECIPE, mine.path)
    assert mine.design.read_text() == "mine"


def test_the_same_images_may_lie_elsewhere_and_others_are_refused(place: RunFolder, digits: Data) -> None:
    moved = dataclasses.replace(digits, source="/elsewhere")
    assert fit(network(), moved, RECIPE, place.path, resume=True).run.source == "/elsewhere"
    assert Trained.load(place.path, "cpu").run.source == "/elsewhere"
    place.summary.unlink()
    fewer = dataclasses.replace(moved, fingerprint="another")
    with pytest.raises(UserError, match=r"/elsewhere has other images, labels or splits than when .* was begun"):
        fit(network(), fewer, RECIPE, place.path, resume=True)


def test_what_keeps_a_resumed_run_from_being_the_same_is_said(
    place: RunFolder, digits: Data, caplog: pytest.LogCaptureFixture
) -> None:
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(threads + 1)
        fit(network(), digits, RECIPE, place.path, resume=True)
    finally:
        torch.set_num_threads(threads)
    assert f"was trained with {threads} threads, now {threads + 1}" in caplog.text
    for path in place.path.glob("*.ckpt"):
        path.unlink()
    place.summary.unlink()
    fit(network(), digits, RECIPE, place.path, resume=True)
    assert "no checkpoint is left, so training begins again with epoch 1" in caplog.text


def test_other_classes_are_named(place: RunFolder, digits: Data) -> None:
    other = dataclasses.replace(digits, task=Label(("cat", "dog")), source="pets")
    with pytest.raises(UserError, match=r"begun on 10 classes \(0, 1, .*\), but pets has 2 \(cat, dog\)"):
        fit(network(2), other, RECIPE, place.path, resume=True)


def test_a_run_that_began_with_other_weights_goes_on_without_them(tmp_path: Path, sound: Path, digits: Data) -> None:
    start = Trained.load(sound, "cpu")
    whole = fit(network(), digits, RECIPE, tmp_path / "further", start=start)
    (tmp_path / "further" / "summary.json").unlink()
    again = fit(network(), digits, RECIPE, tmp_path / "further", resume=True)
    assert again.run.parent == str(sound)
    assert again.outcome is not None
    assert whole.outcome is not None
    assert again.outcome.test.more["confusion_matrix"] == whole.outcome.test.more["confusion_matrix"]


def test_weights_without_a_training_cannot_be_gone_on_with(tmp_path: Path, sound: Path, digits: Data) -> None:
    trained = Trained.load(sound, "cpu")
    trained.derived(network(), trained.network, "copied").save(tmp_path / "copy")
    with pytest.raises(UserError, match=r"weights without a training to go on with: made from .* \(copied\)"):
        fit(network(), digits, RECIPE, tmp_path / "copy", resume=True)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("momentun=0.8", "a recipe has no 'momentun'. Did you mean momentum or second_moment?"),
        ("momentum", "write FIELD=VALUE"),
        ("patience=2.5", "--set patience: expected int, got 2.5"),
        (
            "momentum=2",
            "expected a number from 0 to less than 1. Set momentum; on the command line with --set momentum=",
        ),
        ("weight_decay=.inf", "expected a number from 0 to 1,000"),
        ("seed=-1", "expected a whole number from 0 to"),
    ],
)
def test_a_setting_that_makes_no_sense_is_refused(setting: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        changed(Recipe(), [setting])
    assert message in str(caught.value)


def test_every_field_of_a_recipe_can_be_set() -> None:
    odd = Recipe(optimizer="adam", learning_rate=0.5, epochs=1.5, cut_at=(3, 4), freeze=("tail",), rates={"body": 0.1})
    odd = dataclasses.replace(odd, dropout=0.3, decay_norms=False, initialisation="xavier", bias=0.1, seed=9)
    assert changed(Recipe(), [f"{name}={json.dumps(value)}" for name, value in odd.as_dict().items()]) == odd
    assert changed(Recipe(), ["learning_rate=1e-3"]).learning_rate == 1e-3


def test_a_recipe_as_yaml_explains_every_field_and_reads_back() -> None:
    text = Recipe().as_yaml()
    for line, name in zip(text.splitlines(), Recipe().as_dict(), strict=True):
        assert re.fullmatch(rf"{name}: .+ # .{{10,}}", line)
    assert Recipe.from_dict(plain_document(text, "the text"), "the text") == Recipe()


def test_what_does_not_fit_into_memory_is_refused_before_anything_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = torch.device("cpu")
    with pytest.raises(UserError, match="at most 62,500,000 are decoded"):
        Frame((1, 100_000, 100_000))
    small, huge, whole = (network(), (1, 8, 8), 64), (network(), (1, 8, 8), 10**9), Recipe(accumulate=1)
    with pytest.raises(
        UserError, match=r"with 1,000,000,000 images of 1x8x8 needs .* GiB, most at .* are .*GiB: set accumulate=0"
    ):
        preparing.split(*huge, whole, cpu, None)
    with pytest.raises(UserError, match=r"with 1 image of 1x8x8 needs .*, most at .*: choose a smaller input"):
        preparing.split(*small, Recipe(), cpu, 1000)
    assert preparing.split(*small, whole, cpu, None)[0] == 1
    parts, needed = preparing.split(*huge, Recipe(), cpu, 2**30)
    assert parts > 100
    assert needed <= 2**30
    monkeypatch.setattr("cnnatomy.design.build.memory", lambda: 200_000)
    with pytest.raises(UserError, match=r"tail: the feature maps of this layer .*1x8x8000 to 2x8x8000"):
        Network(tail=Conv(2, 3, padding=1), body=ReLU(), head=ReLU(), input=(1, 8, 8000)).build()
    assert machine.memory() != 200_000


def test_what_torch_says_of_memory_becomes_one_message() -> None:
    with (
        pytest.raises(UserError, match=r"tiny: the memory does not suffice for another 37\.25 GiB"),
        out_of_memory("tiny"),
    ):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 40000000000 bytes.")
    with pytest.raises(RuntimeError, match="something else"), out_of_memory("tiny"):
        raise RuntimeError("something else")


def test_a_pipe_whose_reader_has_gone_is_no_mistake_of_the_users(tmp_path: Path) -> None:
    class Gone:
        encoding = "utf-8"

        def write(self, text: str) -> int:
            raise BrokenPipeError

        def flush(self) -> None: ...

    with pytest.raises(BrokenPipeError), writing_to(tmp_path):
        PipedConsole(file=Gone()).print("epoch 1")  # type: ignore[arg-type]
