"""Run folders that were damaged or edited: each is answered with one message, and never used as if it were sound."""

from __future__ import annotations

import json
import math
import os
import shutil
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from cnnatomy import Chain, Network
from cnnatomy.data import load
from cnnatomy.errors import UserError
from cnnatomy.layers import Conv, Flatten, FullyConnected, MaxPool, ReLU
from cnnatomy.runs import RunFolder, archives, read_run
from cnnatomy.runs import folder as run_folder
from cnnatomy.runs.weights.sources import read_state, save
from cnnatomy.training import Recipe, Trained, fit


def network(classes: int = 10) -> Network:
    return Network(
        tail=Chain(Conv(2, 3, padding=1), ReLU(), MaxPool(2)),
        body=Chain(MaxPool(2)),
        head=Chain(flatten=Flatten(), output=FullyConnected(classes)),
        input=(1, 8, 8),
        name="tiny",
    )


@pytest.fixture(scope="module")
def sound(one_thread: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "sound"
    fit(network(), load("digits", (1, 8, 8)), Recipe(epochs=1), folder)
    return folder


@pytest.fixture
def place(sound: Path, tmp_path: Path) -> RunFolder:
    return RunFolder(Path(shutil.copytree(sound, tmp_path / "run")))


def flipped(content: bytes, places: int = 300) -> list[bytes]:
    """Copies with one bit flipped each, spread over the whole, its head and its end."""
    spread = {round(i * (len(content) - 1) / places) for i in range(places + 1)}
    changed = []
    for at in sorted(spread | set(range(80))):
        copy = bytearray(content)
        copy[at] ^= 1 << at % 8
        changed.append(bytes(copy))
    return changed


def test_a_flipped_bit_in_weights_is_reported_or_changes_no_weight(place: RunFolder) -> None:
    before = load_file(place.model)
    reported = 0
    module = network().build()
    for content in flipped(place.model.read_bytes()):
        place.model.write_bytes(content)
        try:
            run_folder.read_weights(place.model, module, "tiny")
        except UserError:
            reported += 1
            continue
        assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())
    assert reported > 200


def test_weights_without_a_checksum_are_read(place: RunFolder) -> None:
    save_file(load_file(place.model), place.model)
    Trained.load(place.path, "cpu")


@pytest.mark.parametrize("number", [math.nan, math.inf])
def test_weights_that_are_not_finite_are_refused_by_name(place: RunFolder, number: float) -> None:
    state = load_file(place.model)
    state["head.output.bias"][3] = number
    run_folder.write_weights(place.model, state, "tiny")
    with pytest.raises(UserError, match=r"head\.output\.bias: 1 of 10 numbers are not finite, such as (nan|inf)"):
        Trained.load(place.path, "cpu")


def test_outputs_that_are_not_finite_are_refused(place: RunFolder) -> None:
    trained = Trained.load(place.path, "cpu")
    with torch.no_grad():
        for parameter in trained.network.parameters():
            parameter.fill_(3e38)
    with pytest.raises(UserError, match="outputs are not finite"):
        trained.probabilities(torch.full((1, 1, 8, 8), 255, dtype=torch.uint8))
    with pytest.raises(UserError, match="outputs are not finite"):
        trained.evaluate()


EDITS: list[tuple[tuple[str, ...], Any, str]] = [
    (("format",), "1", "format: expected int, got '1'"),
    (("format",), 10**400, "written by a newer cnnatomy"),
    (("format",), 0, "format: expected 1, got 0"),
    (("network",), 3, "network: expected text, got 3"),
    (("input",), [1, 8], r"input: expected \[int, int, int\], got \[1, 8\]"),
    (("input",), [1] * 10**6, r"input: expected \[int, int, int\], got \[1, 1,.*\.\.\.\]"),
    (("input",), [1, 10**6, 10**6], "input: expected at most 62,500,000 pixels"),
    (("input",), [1, -8, 8], "input: expected sizes from 1 to 1,000,000"),
    (("classes",), [*"012"], "the head gives 10, one label needs 3: .*run.json has the classes 0, 1, 2"),
    (("classes",), [*"0123456788"], "classes: expected each name once, got 8"),
    (("classes",), [1] * 10, r"classes: expected list of text"),
    (("classes",), ["\ud800", *"123456789"], "classes: expected names that are text"),
    (("classes",), [], "classes: expected 1 to 10,000,000 names"),
    (("normalisation", "std"), [math.nan], "normalisation: std: expected finite numbers"),
    (("normalisation", "mean"), [math.inf], "normalisation: mean: expected finite numbers"),
    (("normalisation", "std"), [-1.0], "normalisation: std: expected numbers above 0"),
    (("normalisation", "std"), [1.0] * 3, "normalisation: std: expected a number for each of 1 channels"),
    (("data",), {}, "data: source is missing, expected text"),
    (("recipe",), 3, "recipe: expected mapping of text"),
]


@pytest.mark.parametrize(("path", "value", "message"), EDITS)
def test_a_run_that_was_edited_is_checked_key_by_key(
    place: RunFolder, path: tuple[str, ...], value: object, message: str
) -> None:
    record = json.loads(place.run.read_text())
    part = record
    for key in path[:-1]:
        part = part[key]
    part[path[-1]] = value
    place.run.write_text(json.dumps(record))
    with pytest.raises(UserError, match=message):
        Trained.load(place.path, "cpu")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * 100_000, "nested too deeply"),
        ("3", "expected a record with 'format'"),
        ("9" * 6000, "is not JSON"),
        ('"' + "a" * 10_000_001 + '"', "may have at most 10,000,000 bytes"),
    ],
)
def test_a_run_that_is_no_record_is_refused(place: RunFolder, text: str, message: str) -> None:
    place.run.write_text(text)
    with pytest.raises(UserError, match=message):
        read_run(place.path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
@pytest.mark.parametrize("name", ["run.json", "design.yaml", "model.safetensors"])
def test_a_folder_or_a_pipe_in_the_place_of_a_file_is_refused(place: RunFolder, name: str) -> None:
    for make in (os.mkdir, os.mkfifo):
        (place.path / name).unlink()
        make(place.path / name)
        with pytest.raises(UserError, match=rf"{name}: cannot read the (run|design|weights): "):
            Trained.load(place.path, "cpu")
        (os.rmdir if make is os.mkdir else os.unlink)(place.path / name)
        (place.path / name).touch()


def test_a_compressed_file_of_weights_is_refused_before_it_is_loaded(tmp_path: Path) -> None:
    torch.save({"x": torch.zeros(10**6)}, tmp_path / "x.pth")
    with zipfile.ZipFile(tmp_path / "x.pth") as plain, zipfile.ZipFile(tmp_path / "bomb.pth", "w", 8) as bomb:
        for record in plain.namelist():
            bomb.writestr(record, plain.read(record))
    assert (tmp_path / "bomb.pth").stat().st_size < 10_000
    with pytest.raises(UserError, match="its records are compressed"):
        read_state(tmp_path / "bomb.pth")


def test_a_flipped_bit_in_a_pth_file_is_reported_or_changes_no_weight(tmp_path: Path) -> None:
    """Every bit of the zip directory is tried, too: torch leaves a tensor unread whose record is marked as a folder."""
    path = tmp_path / "x.pth"
    tensor = torch.randn(50)
    torch.save({"x": tensor}, path)
    content = path.read_bytes()
    for at in range(content.index(b"PK\x01\x02"), len(content), 3):
        copy = bytearray(content)
        copy[at] ^= 1 << 4
        path.write_bytes(copy)
        try:
            found = archives.read(path, "the weights")
        except UserError:
            continue
        assert torch.equal(found["x"], tensor)


def test_a_whole_module_in_a_file_is_refused_with_a_remedy(tmp_path: Path) -> None:
    torch.save(nn.Linear(2, 2), tmp_path / "x.pth")
    with pytest.raises(UserError, match=r"torch\.save\(model\.state_dict\(\), path\)"):
        read_state(tmp_path / "x.pth")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_only_regular_files_are_read_for_weights(tmp_path: Path) -> None:
    for make, suffix in ((os.mkdir, ".pth"), (os.mkfifo, ".pt"), (os.mkfifo, ".safetensors")):
        make(tmp_path / f"x{suffix}")
        with pytest.raises(UserError, match="cannot read the weights"):
            read_state(tmp_path / f"x{suffix}")


def test_weights_are_not_written_over_a_file(tmp_path: Path) -> None:
    (tmp_path / "x.safetensors").write_text("precious")
    with pytest.raises(UserError, match="is there already, and is not overwritten"):
        save({"x": torch.zeros(1)}, tmp_path / "x.safetensors")
    assert (tmp_path / "x.safetensors").read_text() == "precious"


def test_a_folder_that_is_taken_has_a_remedy_that_every_caller_can_follow(place: RunFolder) -> None:
    with pytest.raises(UserError, match=r"exists already: name another folder, or remove it$"):
        run_folder.check_free(place)
    with pytest.raises(UserError, match=r"exists already: add --resume$"):
        run_folder.check_free(place, "add --resume")
