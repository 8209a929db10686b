"""The commands train, evaluate, predict and demo as a user types them, and what they say to mistakes."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from cnnatomy.cli import main
from cnnatomy.data.sources import fashion
from cnnatomy.training.progress import has_line
from helpers import run_command

pytestmark = pytest.mark.usefixtures("one_thread")
Command = Callable[..., Result]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Command:
    """Runs a command in an empty folder; no mistake may end in a traceback."""
    monkeypatch.chdir(tmp_path)

    return run_command


@pytest.fixture(scope="module")
def trained(one_thread: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of LeNet-5 after six epochs on the digits."""
    folder = tmp_path_factory.mktemp("runs") / "lenet"
    result = CliRunner().invoke(main, ["train", "lenet-5", "--epochs", "6", "--out", str(folder)])
    assert result.exit_code == 0, result.output
    return folder


def shades(folder: Path, counts: dict[str, int]) -> Path:
    """Class folders of noise, dark for the first class and brighter for each further one."""
    for level, (name, count) in enumerate(counts.items()):
        (folder / name).mkdir(parents=True)
        for number in range(count):
            noise = np.random.default_rng([level, number]).integers(100 * level, 100 * level + 56, (20, 30, 3))
            Image.fromarray(noise.astype(np.uint8)).save(folder / name / f"{number}.jpg")
    return folder


def test_errors_of_the_critique_stand_before_the_first_epoch_and_not_where_a_run_goes_on(run: Command) -> None:
    head = "head:\n- GlobalAvgPool\n- Flatten\n- FullyConnected: {features: 10}\n- Softmax\n"
    Path("mine.yaml").write_text(f"input: [1, 28, 28]\ntail:\n- Conv: {{channels: 4, kernel: 3}}\nbody: ReLU\n{head}")
    output = run("train", "mine.yaml", "--epochs", "1").output
    assert output.count("error W7 softmax-before-loss: ") == output.count("cnnatomy critique mine.yaml") == 1
    assert output.index("error W7") < output.index("epoch 1/1")
    assert "error W7" not in run("train", "mine.yaml", "--epochs", "2", "--resume").output


def test_training_prints_a_line_an_epoch_and_where_everything_is(run: Command) -> None:
    output = run("train", "lenet-5", "--epochs", "2", "--batch-size", "128", "--seed", "3").output
    lines = re.findall(
        r"^epoch (\d)/2  loss [\d.]+  accuracy [\d.]+%  validation loss .* images/s  \d+:\d\d left$", output, re.M
    )
    assert lines == ["1", "2"]
    assert "1,259 train, 179 val, 359 test" in output
    assert "batches of 128" in output
    assert "seed 3" in output
    assert "The run is in runs/lenet-5" in output
    assert "Warning" not in output
    assert "GPU available" not in output
    assert json.loads(Path("runs/lenet-5/summary.json").read_text())["recipe"]["seed"] == 3


@pytest.mark.slow
def test_a_long_training_prints_the_first_the_last_and_every_tenth(run: Command, tmp_path: Path) -> None:
    data = shades(tmp_path / "shades", {"dark": 10, "bright": 10})
    options = ["--data", data, "--input", "3x32x32", "--epochs", "31", "--patience", "31", "--out", "run"]
    output = run("train", "lenet-5", *options).output
    assert re.findall(r"^epoch (\d+)/31", output, re.M) == ["1", *map(str, range(3, 31, 3)), "31"]
    assert len(Path("run/metrics.csv").read_text().splitlines()) == 1 + 31


@given(st.integers(1, 2000))
def test_without_a_terminal_at_most_30_lines_are_printed(epochs: int) -> None:
    told = [epoch for epoch in range(1, epochs + 1) if has_line(epoch, epochs)]
    assert told[0] == 1
    assert told[-1] == epochs
    assert len(told) == epochs if epochs <= 30 else 10 <= len(told) <= 30


def test_own_images_from_class_folders_to_a_prediction(run: Command, tmp_path: Path) -> None:
    data = shades(tmp_path / "shades", {"dark": 12, "bright": 12})
    (data / "dark" / "notes.png").write_text("these are no pixels")
    training = run("train", "lenet-5", "--data", data, "--input", "3x32x32", "--epochs", "12", "--out", "run").output
    assert "1 broken image skipped:\n  dark/notes.png: not an image" in training
    assert "top-1 100.00%" in training
    answer = run("predict", "run", data / "bright" / "0.jpg", data / "dark" / "0.jpg").output.splitlines()
    assert answer[0].startswith(f"{data / 'bright' / '0.jpg'}: bright ")
    assert answer[1].startswith(f"{data / 'dark' / '0.jpg'}: dark ")


@pytest.mark.slow
def test_evaluating_a_run_gives_the_numbers_of_its_summary(run: Command, trained: Path) -> None:
    summary = json.loads((trained / "summary.json").read_text())["test"]
    record = json.loads(run("evaluate", trained, "--format", "json").stdout)
    assert record["data"] == "test split of digits"
    for key in ("images", "top_1", "top_5", "per_class", "confusion_matrix"):
        assert record[key] == summary[key]
    table = run("evaluate", trained).output
    assert f"top-1 {summary['top_1']:.2%}" in table
    assert len(re.findall(r"^ *\d (?: *[\d.]+%){5} +\d+\b", table, re.M)) == 10


def test_evaluating_on_other_data(run: Command, trained: Path, tmp_path: Path) -> None:
    data = shades(tmp_path / "data", {"3": 2, "7": 4})
    record = json.loads(run("evaluate", trained, "--data", data, "--format", "json").stdout)
    assert record["images"] == 6
    assert [entry["images"] for entry in record["per_class"]] == [0, 0, 0, 2, 0, 0, 0, 4, 0, 0]
    assert record["per_class"][0]["recall"] is None


@pytest.fixture
def digit_file(tmp_path: Path) -> Path:
    from sklearn.datasets import load_digits

    path = tmp_path / "digit.png"
    Image.fromarray((load_digits().images[0] * 15.9375).astype(np.uint8)).save(path)
    return path


def test_predicting_answers_for_good_files_and_reports_bad_ones(run: Command, trained: Path, digit_file: Path) -> None:
    text = digit_file.with_name("text.png")
    text.write_text("no pixels")
    result = run("predict", trained, text, digit_file, "none.png", code=2)
    assert result.stdout.startswith(f"{digit_file}: 0 ")
    assert f"cnnatomy: {text}: not an image" in result.stderr
    assert "cnnatomy: none.png: no such file" in result.stderr


def test_predictions_as_json_and_csv(run: Command, trained: Path, digit_file: Path) -> None:
    answer, failure = json.loads(run("predict", trained, digit_file, "none.png", "--format", "json", code=2).stdout)
    assert answer["predictions"][0]["class"] == "0"
    assert len(answer["predictions"]) == 5
    shares = [entry["probability"] for entry in answer["predictions"]]
    assert shares == sorted(shares, reverse=True)
    assert 0.5 < sum(shares) <= 1 + 1e-6
    assert failure == {"image": "none.png", "error": "no such file"}
    rows = list(csv.DictReader(io.StringIO(run("predict", trained, digit_file, "--format", "csv").stdout)))
    assert [row["rank"] for row in rows] == list("12345")
    assert rows[0]["class"] == "0"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "lenet5x"], "Did you mean"),
        (["train", "lenet-5", "--data", "digit"], "Did you mean digits"),
        (["train", "lenet-5", "--data", "empty"], "is empty"),
        (["train", "lenet-5", "--recipe", "alexnt"], "Did you mean alexnet"),
        (["train", "lenet-5", "--input", "1x2x2"], "tail.c1"),
        (["train", "lenet-5", "--input", "4x32x32"], "takes 4 channels"),
        (["train", "lenet-5", "--resume"], "runs/lenet-5 does not exist"),
        (["train", "lenet-5", "--learning-rate", "-1"], "learning rate is -1.0"),
        (["evaluate", "empty"], "is not a run folder"),
        (["predict", "none", "a.png"], "does not exist"),
    ],
)
def test_a_mistake_gets_one_clear_message(run: Command, arguments: list[str], message: str) -> None:
    Path("empty").mkdir()
    result = run(*arguments, code=2)
    assert message in result.stderr
    assert result.stderr.startswith("cnnatomy: ")
    assert not Path("runs").exists()


def test_a_class_with_one_image_is_named(run: Command, tmp_path: Path) -> None:
    data = shades(tmp_path / "data", {"cat": 1, "dog": 5})
    assert "class cat has 1 usable image" in run("train", "lenet-5", "--data", data, code=2).stderr


def test_a_run_folder_that_exists_is_refused_and_untouched(run: Command, trained: Path) -> None:
    before = (trained / "summary.json").read_bytes()
    result = run("train", "lenet-5", "--out", trained, code=2)
    assert "exists already: add --resume to go on with it, or name another one with --out" in result.stderr
    assert (trained / "summary.json").read_bytes() == before


def test_resuming_a_complete_run_does_nothing_and_another_network_is_refused(run: Command, trained: Path) -> None:
    assert "is complete already" in run("train", "lenet-5", "--out", trained, "--resume").output
    result = run("train", "lenet-5-1998", "--out", trained, "--resume", code=2)
    assert "holds a run of another network, lenet-5" in result.stderr
    result = run("train", "lenet-5", "--out", trained, "--resume", "--seed", "9", code=2)
    assert "was begun with recipe seed 0, now seed 9" in result.stderr


def test_without_a_gpu_cuda_is_refused(run: Command, trained: Path) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    assert "no CUDA device" in run("evaluate", trained, "--device", "cuda", code=2).stderr


def process(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join(sys.path),
        "PYTHONUNBUFFERED": "1",
    }
    # whoever runs the tests in the background of a shell has Ctrl-C ignored, and what they start inherits that
    heard = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    command = [sys.executable, "-c", f"{heard}; from cnnatomy.cli import main; main()", *arguments]
    return subprocess.Popen(
        command, cwd=folder, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


@pytest.mark.slow
def test_ctrl_c_leaves_a_run_that_goes_on_to_the_same_weights(run: Command, trained: Path, tmp_path: Path) -> None:
    interrupted = process(tmp_path, "train", "lenet-5", "--epochs", "6", "--out", "parts")
    assert interrupted.stdout is not None
    for line in interrupted.stdout:
        if line.startswith("epoch 2/"):
            interrupted.send_signal(signal.SIGINT)
            break
    output, errors = interrupted.communicate()
    assert interrupted.returncode == 130
    assert "Traceback" not in errors
    assert "cnnatomy train parts/design.yaml --out parts --resume" in output
    assert not (tmp_path / "parts" / "summary.json").exists()

    run("train", "parts/design.yaml", "--out", "parts", "--resume")
    assert (tmp_path / "parts/model.safetensors").read_bytes() == (trained / "model.safetensors").read_bytes()
    results = [json.loads((folder / "summary.json").read_text()) for folder in (trained, tmp_path / "parts")]
    assert results[0]["test"]["confusion_matrix"] == results[1]["test"]["confusion_matrix"]


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="needs a pseudo-terminal")
def test_on_a_terminal_there_is_a_bar(tmp_path: Path) -> None:
    import pty

    master, slave = pty.openpty()
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join(sys.path),
        "TERM": "xterm",
        "COLUMNS": "140",
    }
    command = [sys.executable, "-c", "from cnnatomy.cli import main; main()", "train", "lenet-5", "--epochs", "2"]
    child = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=slave, stderr=slave)
    os.close(slave)
    shown = b""
    while True:
        try:
            shown += os.read(master, 65536)
        except OSError:  # how Linux says that the other end is closed
            break
    assert child.wait() == 0
    assert re.search(r"epoch \d/2.*loss [\d.]+.*accuracy +[\d.]+%.*images/s.*left", shown.decode())


@pytest.mark.full
@pytest.mark.slow
def test_the_demo_reaches_98_percent_on_digits_it_has_never_seen(run: Command) -> None:
    output = run("demo").output
    measured = re.search(r"Measured: ([\d.]+)% of the test split, \d+ of 359 digits", output)
    assert measured is not None
    assert float(measured[1]) >= 98
    examples = sorted(Path("runs/demo/examples").glob("*.png"))
    assert len(examples) == 6
    assert all(str(path) in output for path in examples)
    assert "tail.c1" in output
    assert "cnnatomy predict runs/demo IMAGE..." in output


@pytest.mark.slow
@pytest.mark.skipif(not fashion.FOLDER.is_dir(), reason="apt-get install dataset-fashion-mnist")
def test_lenet_learns_fashion_mnist(run: Command, tmp_path: Path) -> None:
    """A tenth of the real training images, and every real test image, as IDX files of our own."""
    from cnnatomy.data.sources.idx import read_idx

    folder = tmp_path / "fashion-part"
    folder.mkdir()
    for path in fashion.FOLDER.glob("*ubyte.gz"):
        array = read_idx(path, 3 if "idx3" in path.name else 1)
        part = array[:6000] if path.name.startswith("train") else array
        header = bytes([0, 0, 8, part.ndim]) + b"".join(size.to_bytes(4, "big") for size in part.shape)
        (folder / path.stem).write_bytes(header + part.tobytes())
    run("train", "lenet-5", "--data", folder, "--epochs", "8", "--learning-rate", "0.05", "--out", "run")
    summary = json.loads(Path("run/summary.json").read_text())
    splits = summary["data"]["splits"]
    assert splits["train"] + splits["val"] == 6000
    assert splits["test"] == 10_000
    assert summary["classes"][0] == "T-shirt/top"
    assert summary["test"]["top_1"] > 0.8
    assert summary["test"]["top_5"] > 0.98
