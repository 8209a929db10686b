"""Runs cases, each in a process of its own under limits, and says what is wrong with how they end."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from bad_inputs.case import GOOD_DESIGN, Case

SECONDS = 10
"""After which a command is taken to hang."""

PROCESSOR_SECONDS, MEMORY = 2.0, 500_000_000
"""What a bad input may take beyond what the same command takes on a small good one."""

SLACK = 1.5
"""Beside other work a core is so much slower than alone."""

LONGEST_MESSAGE = 4_000
"""Characters; nobody reads more."""

OF_PYTHON = re.compile(
    r"Traceback|Exception ignored|<class |Union\[|NoneType|object at 0x|\[Errno|Segmentation fault|Fatal Python"
)
ERRORS_OF_PYTHON = re.compile(
    r"\b(?:Key|Type|Value|Attribute|Index|Recursion|Overflow|Unicode\w*|Runtime|Memory|Assertion)Error\b"
)
CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\ud800-\udfff]")

GOOD_INPUTS = {
    "show": "show good.yaml",
    "compare": "compare good.yaml good.yaml",
    "critique": "critique good.yaml",
    "fit": "fit good.yaml --memory 1GiB",
    "roofline": "roofline good.yaml --device h100-sxm",
    "list": "list",
    "rules": "rules",
    "layers": "layers",
    "new": "new mine",
    "time": "time good.yaml --repetitions 1",
    "train": "train good.yaml --epochs 1 --out made",
    "predict": "predict RUN IMAGE",
    "evaluate": "evaluate RUN",
    "weights": "weights good.yaml --from RUN/model.safetensors",
    "onnx": "show MODEL",
    "python:": "show python:json:dumps",
}
"""For each command, what it takes on this is what it may take."""


@dataclass(frozen=True)
class Ended:
    """How a command ended: its exit code (negative: the signal that killed it), what it said, and what it took."""

    code: int
    out: str
    err: str
    hung: bool
    processor_seconds: float
    memory: int


class Zygote:
    """A process that has imported everything, and runs commands in children of its own."""

    def __init__(self, heavy: bool) -> None:
        self.place = Path(tempfile.mkdtemp(prefix="bad-inputs-"))
        script = Path(__file__).with_name("zygote.py")
        arguments = [sys.executable, str(script), *(["heavy"] if heavy else [])]
        self.process = subprocess.Popen(
            arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment(), cwd=self.place
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.jobs, self.answers = self.process.stdin, self.process.stdout
        ready = self.answers.readline()
        assert ready == "ready\n", f"the process that runs commands ended with {self.process.wait()}"
        self.baselines: dict[str, Ended] = {}

    def end(self) -> None:
        """Ends the process, and removes what was written."""
        self.jobs.close()
        self.process.wait()
        self.answers.close()
        shutil.rmtree(self.place, ignore_errors=True)

    @cached_property
    def trained(self) -> Path:
        """A run folder, after an epoch on digits."""
        folder = self.place / "trained"
        folder.mkdir()
        (folder / "good.yaml").write_text(GOOD_DESIGN)
        ended = self.run(Case("training", tuple(GOOD_INPUTS["train"].split())), folder)
        assert ended.code == 0, ended.err
        self.baselines["train"] = ended
        return folder / "made"

    def ended(self, case: Case) -> Ended:
        """Runs a case in a folder of its own, which is removed."""
        folder = Path(tempfile.mkdtemp(dir=self.place))
        try:
            case.prepare(folder, self.trained if case.run else folder)
            return self.run(case, folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def run(self, case: Case, folder: Path) -> Ended:
        """Runs a command in a folder."""
        captured = self.place / "captured"
        shutil.rmtree(captured, ignore_errors=True)
        captured.mkdir()
        (captured / "stdin").write_bytes(case.stdin)
        job: dict[str, Any] = {
            "command": case.command,
            "folder": str(folder),
            "captured": str(captured),
            "environment": environment(case),
            "stdout": case.stdout,
            "seconds": SECONDS,
            "processor_seconds": SECONDS,
        }
        self.jobs.write(json.dumps(job) + "\n")
        self.jobs.flush()
        answer = json.loads(self.answers.readline())
        out, err = (read(captured / name, encoding(case)) for name in ("stdout", "stderr"))
        return Ended(answer["code"], out, err, answer["hung"], answer["processor_seconds"], answer["memory"])

    def baseline(self, case: Case) -> Ended:
        """What the command takes on a small good input."""
        verb = case.command[0] if case.command and case.command[0] in GOOD_INPUTS else "show"
        if verb not in self.baselines:
            self.baselines[verb] = self._baseline(verb)
        return self.baselines[verb]

    def _baseline(self, verb: str) -> Ended:
        if verb == "train":
            _ = self.trained
            return self.baselines["train"]
        folder = Path(tempfile.mkdtemp(dir=self.place))
        (folder / "good.yaml").write_text(GOOD_DESIGN)
        words = GOOD_INPUTS[verb].split()
        if any("RUN" in word for word in words):
            words = [word.replace("RUN", str(self.trained)) for word in words]
        if "IMAGE" in words:
            from PIL import Image

            Image.new("L", (8, 8)).save(folder / "IMAGE.png")
            words = [word.replace("IMAGE", "IMAGE.png") for word in words]
        ended = self.run(Case("good", tuple(words)), folder)
        assert ended.code == 0, (words, ended)
        return ended


def environment(case: Case | None = None) -> dict[str, str]:
    """That of the tests, with one thread a process, without what is of the terminal or home of whoever runs them."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "COLUMNS", "LINES"))}
    source = str(Path(__file__).parents[2] / "src")
    home = str(Path(tempfile.gettempdir()) / "no-such-cache")
    own = {"PYTHONPATH": source, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "XDG_CACHE_HOME": home}
    return {**kept, **own, **(case.environment if case else {})}


def encoding(case: Case) -> str:
    """That of what a case says; click takes ASCII for a mistake, and writes UTF-8."""
    name = environment(case).get("PYTHONIOENCODING", "").partition(":")[0]
    return "utf-8" if name in ("", "ascii") else name


def read(path: Path, encoding: str) -> str:
    """What a command wrote, with bytes that are no text as surrogates."""
    return path.read_bytes().decode(encoding, "surrogateescape") if path.exists() else ""


def wrong(case: Case, ended: Ended, good: Ended) -> list[str]:
    """What is wrong with how a case ended; nothing, if all is well."""
    found = []
    if ended.hung or ended.code in (-24, -9):
        found.append(f"hangs: after {ended.processor_seconds:.1f} s of the processor it was ended from outside")
    elif ended.code not in case.codes:
        found.append(f"exit code {ended.code}, expected {' or '.join(map(str, case.codes))}")
    spent = ended.processor_seconds - good.processor_seconds
    if spent > SLACK * PROCESSOR_SECONDS:
        found.append(f"took {spent:.1f} s of the processor more than a small good input")
    grown = ended.memory - good.memory
    if grown > MEMORY:
        found.append(f"took {grown / 1e6:,.0f} MB more than a small good input")
    return found + wrong_words(case, ended)


def wrong_words(case: Case, ended: Ended) -> list[str]:
    """What is wrong with what a case said."""
    found = []
    if OF_PYTHON.search(ended.err) or (not case.quotes and ERRORS_OF_PYTHON.search(ended.err)):
        found.append("Python shows in the message")
    if control := CONTROL.search(ended.err):
        found.append(f"control character {control.group()!r} in the message")
    if case.stdout != "head" and (control := CONTROL.search(ended.out)):
        found.append(f"control character {control.group()!r} in the output")
    if len(ended.err) > LONGEST_MESSAGE * case.messages:
        found.append(f"a message of {len(ended.err):,} characters")
    if case.codes == (2,) and (count := messages(ended.err)) != case.messages:
        found.append(f"{count} messages, expected {case.messages}")
    if (
        case.code == 0
        and case.stdout in ("file", "terminal")
        and "Traceback" not in ended.err
        and messages(ended.err) > 0
    ):
        found.append("a message where nothing was wrong")
    if case.says and not re.search(case.says, ended.err if case.codes == (2,) else ended.out + ended.err):
        found.append(f"does not say {case.says!r}")
    return found


def messages(err: str) -> int:
    """How many messages there are; -1 where there is something before the first."""
    if err and not err.lstrip().startswith(("cnnatomy: ", "Usage: ", "Error: ")):
        return -1
    return len(re.findall(r"^(?:cnnatomy: |Error: )", err, re.MULTILINE))


def report(case: Case, ended: Ended, found: list[str]) -> str:
    """All that one wants to see of a case that failed."""
    command = shlex.join(["cnnatomy", *case.command])[:300]
    return (
        "\n".join([*found, f"$ {command}", ended.err[-1500:].strip() or "(no message)", ended.out[:200].strip()])
        .encode("ascii", "backslashreplace")
        .decode()
    )
