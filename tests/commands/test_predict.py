"""`predict` as people use it: files, folders and lists of names; thresholds; output that other programs read."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from PIL import Image

from cnnatomy import UserError
from cnnatomy.cli import main
from cnnatomy.data import Frame, read_image
from cnnatomy.runs import Prediction, Trained
from helpers import run_command

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def trained(one_thread: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of LeNet-5 after two epochs on the digits."""
    folder = tmp_path_factory.mktemp("runs") / "lenet"
    run_command("train", "lenet-5", "--epochs", "2", "--out", folder)
    return folder


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty folder, in which the commands run."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def digits(*paths: str | bytes) -> None:
    """Real digits, the first of them a 0, in these files."""
    from sklearn.datasets import load_digits

    for path, image in zip(map(os.fsdecode, paths), load_digits().images, strict=False):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        with open(path, "wb") as file:
            Image.fromarray((image * 15.9375).astype(np.uint8)).save(file, "PNG")


def predict(trained: Path, *arguments: str, names: bytes | None = None, code: int = 0) -> Result:
    result = CliRunner().invoke(main, ["predict", str(trained), *arguments], input=names)
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    return result


def answered(result: Result) -> list[str]:
    return [line.partition(": ")[0] for line in result.stdout.splitlines()]


def test_a_folder_stands_for_its_images_in_order_however_deep(trained: Path, place: Path) -> None:
    digits("a/2.png", "a/1.PNG", "a/deep/3.png", "a/.hidden.png", "a/.hidden/4.png", "b.png")
    Path("a/notes.txt").write_text("mine")
    result = predict(trained, "b.png", "a", "b.png")
    assert answered(result) == ["b.png", "a/1.PNG", "a/2.png", "a/deep/3.png", "b.png"]
    assert result.stderr == "cnnatomy: a: 1 file ignored, without an image's suffix\n"


@pytest.mark.parametrize("names", [b"1.png\n\na\nb c.png", b"1.png\r\na\r\nb c.png\r\n", b"1.png\0a\0b c.png\0"])
def test_names_on_standard_input_end_with_their_line_or_with_nul(trained: Path, place: Path, names: bytes) -> None:
    digits("1.png", "a/2.png", "b c.png")
    assert answered(predict(trained, "-", names=names)) == ["1.png", "a/2.png", "b c.png"]


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        (b"", "standard input names no image"),
        (b"\n\n", "standard input names no image"),
        (b"a" * 200_000, "a name may have at most 65,536 bytes"),
    ],
)
def test_a_list_that_names_nothing_is_reported_beside_what_is_answered(
    trained: Path, place: Path, names: bytes, reason: str
) -> None:
    digits("1.png")
    result = predict(trained, "1.png", "-", names=names, code=2)
    assert answered(result) == ["1.png"]
    assert reason in result.stderr


def test_an_image_on_standard_input_is_told_from_names(trained: Path, place: Path) -> None:
    digits("1.png")
    result = predict(trained, "-", names=Path("1.png").read_bytes(), code=2)
    assert "standard input is an image itself; expected names of files or folders" in result.stderr


@pytest.fixture
def streaming(trained: Path, place: Path) -> Iterator[subprocess.Popen[bytes]]:
    """`cnnatomy predict RUN -`, to be written to and read from."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-m", "cnnatomy", "predict", str(trained), "-", "--format", "jsonl"]
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as child:
        yield child
        child.kill()


@pytest.mark.slow
def test_each_name_is_answered_before_the_next_is_there(streaming: subprocess.Popen[bytes]) -> None:
    digits("1.png", "2.png")
    names, answers = pipes(streaming)
    for name in ("1.png", "2.png", "none.png"):
        names.write(name.encode() + b"\n")
        names.flush()
        assert json.loads(answers.readline())["image"] == name
    names.close()
    assert streaming.wait() == 2


@pytest.mark.slow
def test_a_reader_that_goes_away_ends_it_quietly(streaming: subprocess.Popen[bytes]) -> None:
    digits("1.png")
    names, answers = pipes(streaming)
    names.write(b"1.png\n")
    names.flush()
    answers.readline()
    answers.close()
    names.write(b"1.png\n" * 1000)
    names.close()
    assert streaming.stderr is not None
    assert streaming.stderr.read() == b""


def pipes(child: subprocess.Popen[bytes]) -> tuple[IO[bytes], IO[bytes]]:
    assert child.stdin is not None
    assert child.stdout is not None
    return child.stdin, child.stdout


def test_an_empty_folder_is_reported(trained: Path, place: Path) -> None:
    Path("empty").mkdir()
    assert "cnnatomy: empty: no images in this folder (.bmp, " in predict(trained, "empty", code=2).stderr


def test_what_is_no_regular_file_is_reported_and_not_waited_for(trained: Path, place: Path) -> None:
    digits("a/1.png")
    os.mkfifo("a/pipe.png")
    Path("a/me.png").symlink_to("me.png")
    Path("a/above").symlink_to("..")
    result = predict(trained, "a", "/dev/zero", code=2)
    assert answered(result) == ["a/1.png"]
    assert result.stderr.splitlines() == [
        "cnnatomy: a/me.png: Too many levels of symbolic links",
        "cnnatomy: a/pipe.png: it is a pipe, not a regular file",
        "cnnatomy: /dev/zero: it is a device, not a regular file",
    ]


def test_as_many_classes_as_asked_for_and_no_more_than_there_are(trained: Path, place: Path) -> None:
    digits("1.png")
    for top, count in ((1, 1), (3, 3), (1000, 10)):
        (record,) = json.loads(predict(trained, "1.png", "--top", str(top), "--format", "json").stdout)
        assert len(record["predictions"]) == count
    assert "'--top': 0 is not in the range" in predict(trained, "1.png", "--top", "0", code=2).stderr


def test_below_the_threshold_the_class_is_not_known(trained: Path, place: Path) -> None:
    digits("1.png")
    sure, unsure = (["1.png", "--top", "1", "--threshold", share] for share in ("0", "1"))
    assert predict(trained, *sure).stdout.startswith("1.png: 0 ")
    assert predict(trained, *unsure).stdout.startswith("1.png: do not know (most likely 0, ")
    (record,) = json.loads(predict(trained, *unsure, "--format", "json").stdout)
    assert record["class"] is None
    assert record["predictions"][0]["class"] == "0"
    for arguments, answer in ((sure, "0"), (unsure, "")):
        (row,) = csv.DictReader(io.StringIO(predict(trained, *arguments, "--format", "csv").stdout))
        assert (row["class"], row["answer"]) == ("0", answer)


@pytest.mark.parametrize("share", ["-0.1", "1.1", "nan", "half"])
def test_a_threshold_is_a_probability(trained: Path, place: Path, share: str) -> None:
    for option in ("--threshold", "--exit-threshold"):
        said = predict(trained, "1.png", option, share, code=2).stderr
        assert f"{option} '{share}': expected a probability from 0 to 1" in said


@pytest.fixture(scope="module")
def tasks(one_thread: None, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Path]:
    """The run folder of a network with this head, which has seen some scenes of a kind."""

    def train(kind: str, head: str) -> Path:
        folder = tmp_path_factory.mktemp("runs")
        design = folder / "design.yaml"
        design.write_text(
            f"input: [1, 32, 32]\ntail: ReLU\nbody: {{Conv: {{channels: 8, kernel: 3, stride: 4}}}}\nhead: {head}\n"
        )
        run_command("train", design, "--data", f"scenes:{kind}", "--epochs", "0.1", "--out", folder / "run")
        return folder / "run"

    return train


def test_a_threshold_is_that_of_each_of_several_labels_in_place_of_the_chosen_ones(
    tasks: Callable[[str, str], Path], place: Path
) -> None:
    """A sigmoid at the end of the design is left to the loss, and probabilities are those of one sigmoid."""
    digits("1.png")
    run = tasks("labels", "[{LinearHead: {classes: 10}}, Sigmoid]")
    network = Trained.load(run, "cpu")
    image = torch.tensor(read_image(Path("1.png"), Frame((1, 32, 32))))
    with torch.inference_mode():
        wanted = network.model(image[None])[0].double().sigmoid().tolist()
    for options, least in (
        ([], network.choices["thresholds"]),
        (["--threshold", "auto"], network.choices["thresholds"]),
        (["--threshold", "0"], [0.0] * 10),
        (["--threshold", "0.5"], [0.5] * 10),
        (["--threshold", "1"], [1.0] * 10),
    ):
        (record,) = json.loads(predict(run, "1.png", "--format", "json", *options).stdout)
        assert list(record["probabilities"].values()) == pytest.approx(wanted)
        said = [str(i) for i, (share, bound) in enumerate(zip(wanted, least, strict=True)) if share >= bound]
        assert record["labels"] == said, options


def test_a_threshold_is_refused_where_there_are_no_labels(tasks: Callable[[str, str], Path], place: Path) -> None:
    digits("1.png")
    run = tasks("numbers", "{LinearHead: {classes: 2}}")
    for share in ("0.5", "auto"):
        assert "labels" in predict(run, "1.png", "--threshold", share, code=2).stderr


ODD = (b'quo"te, comma.png', b"two\nlines.png", b"return\rreturn.png", b"\x1b[31mred.png")
NOT_UTF_8 = () if sys.platform != "linux" else (b"caf\xe9.png",)


@pytest.mark.parametrize("format", ["json", "jsonl"])
def test_any_name_is_given_back_by_json(trained: Path, place: Path, format: str) -> None:
    names = sorted(ODD + NOT_UTF_8)
    digits(*names)
    Path("text.png").write_text("no pixels")
    output = predict(trained, "-", "--format", format, names=b"\0".join([*names, b"text.png", b""]), code=2).stdout
    records = json.loads(output) if format == "json" else [json.loads(line) for line in output.splitlines()]
    assert [os.fsencode(record["image"]) for record in records] == [*names, b"text.png"]
    assert "error" in records[-1]


def test_any_name_is_quoted_in_csv(trained: Path, place: Path) -> None:
    digits(*ODD, *NOT_UTF_8)
    output = predict(trained, ".", "--top", "1", "--format", "csv").stdout
    names = {row["image"] for row in csv.DictReader(io.StringIO(output, newline=""))}
    assert names == {name.decode("utf-8", "surrogateescape").replace("\udce9", r"\udce9") for name in ODD + NOT_UTF_8}


def test_any_name_takes_one_line_of_text(trained: Path, place: Path) -> None:
    digits(*ODD, *NOT_UTF_8)
    names = answered(predict(trained, "."))
    assert {r"two\nlines.png", r"return\rreturn.png", r"\x1b[31mred.png", 'quo"te, comma.png'} <= {*names}
    assert len(names) == len(ODD + NOT_UTF_8)


def test_json_is_whole_where_it_is_interrupted(trained: Path, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digits("1.png", "2.png")
    usual = Trained.predict

    def interrupted(self: Trained, paths: Sequence[str | Path], most: int) -> Iterator[Prediction]:
        yield from usual(self, paths[:1], most)
        raise KeyboardInterrupt

    monkeypatch.setattr(Trained, "predict", interrupted)
    (record,) = json.loads(predict(trained, "1.png", "2.png", "--format", "json", code=130).stdout)
    assert record["image"] == "1.png"


def test_a_network_whose_outputs_are_not_finite_answers_nothing(trained: Path, place: Path) -> None:
    digits("1.png")
    broken = Trained.load(trained, "cpu")
    with torch.no_grad():
        next(broken.network.parameters()).fill_(torch.nan)
    with pytest.raises(UserError, match="outputs are not finite"):
        list(broken.predict(["1.png"]))
