"""Whatever it is given, a command ends soon, takes little, and says one thing: bad_inputs/ says what it is given."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest

from bad_inputs import KINDS, cases
from bad_inputs.case import GOOD_DESIGN, Case
from bad_inputs.running import SECONDS, Ended, Zygote, encoding, environment, report, wrong, wrong_words
from bad_inputs.zygote import entry_point

ALL = [(kind, one) for kind in KINDS for one in cases(kind)]
LAUNCH = "from {} import {} as run; run()".format(*entry_point())
"""What the console script does."""

pytestmark = pytest.mark.slow  # a minute together

HEAVY_SHARE, LIGHT_SHARE = 8, 3
"""`make test` runs one of so many cases, `make test-full` every one."""

REAL_SHARE = 20
"""`make test-full` runs one of so many as a real process too, which takes ten times as long as a forked one."""


def parameter(kind: str, one: Case) -> Any:
    """A case as a test of its own, always of the same name and share."""
    share = HEAVY_SHARE if one.heavy else LIGHT_SHARE
    marks = [pytest.mark.full] if crc32(one.name.encode(errors="surrogateescape")) % share else []
    return pytest.param(one, id=f"{kind}: {ascii(one.name)[1:-1]}", marks=marks)


class Zygotes:
    """The processes that run cases, each started when it is first needed."""

    def __init__(self) -> None:
        self.started: list[Zygote] = []
        self.of = cache(self._start)

    def _start(self, heavy: bool) -> Zygote:
        self.started.append(Zygote(heavy))
        return self.started[-1]


@pytest.fixture(scope="session")
def zygotes() -> Iterator[Zygotes]:
    made = Zygotes()
    yield made
    for zygote in made.started:
        zygote.end()


def test_there_are_at_least_500_bad_inputs_of_different_names() -> None:
    names = [one.name for _, one in ALL]
    assert len(names) >= 500
    assert sorted(names) == sorted(set(names))


@pytest.mark.parametrize("one", [parameter(kind, one) for kind, one in ALL])
def test_a_bad_input_gets_one_message_in_little_time_and_memory(one: Case, zygotes: Zygotes) -> None:
    zygote = zygotes.of(one.heavy)
    good = zygote.baseline(one)
    ended = zygote.ended(one)
    found = wrong(one, ended, good)
    if any(problem.startswith("took") for problem in found):  # once more: the machine may have been busy
        ended = zygote.ended(one)
        found = wrong(one, ended, good)
    assert not found, report(one, ended, found)


@pytest.mark.full
@pytest.mark.parametrize("kind", KINDS)
def test_real_processes_say_the_same(kind: str, zygotes: Zygotes, tmp_path: Path) -> None:
    found = []
    for number, one in enumerate(cases(kind)):
        if (
            one.stdout not in ("file", "closed", "full")
            or crc32(one.name.encode(errors="surrogateescape")) % REAL_SHARE
        ):
            continue
        place = tmp_path / str(number)
        place.mkdir()
        one.prepare(place, zygotes.of(True).trained if one.run else place)
        ended = real(one, place)
        if problems := ([] if ended.code in one.codes else [f"exit code {ended.code}"]) + wrong_words(one, ended):
            found.append(f"{one.name}: {report(one, ended, problems)}")
    assert not found, "\n\n".join(found).encode("ascii", "backslashreplace").decode()


def real(one: Case, place: Path) -> Ended:
    """How the command ends as a process of its own; the console script is two lines."""
    redirect = {"closed": ">&-", "full": ">/dev/full"}.get(one.stdout, "")
    command = [
        "sh",
        "-c",
        f'exec "$@" {redirect}',
        "sh",
        sys.executable,
        "-c",
        LAUNCH,
        *one.command,
    ]
    try:
        ran = subprocess.run(
            command, capture_output=True, input=one.stdin, cwd=place, env=environment(one), timeout=6 * SECONDS
        )
    except subprocess.TimeoutExpired as late:
        return Ended(-9, "", (late.stderr or b"").decode(errors="replace"), True, 0, 0)
    out, err = (text.decode(encoding(one), "surrogateescape") for text in (ran.stdout, ran.stderr))
    return Ended(ran.returncode, out, err, False, 0, 0)


HEARD = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
"""What a shell starts in the background ignores Ctrl-C, and so do its children: not the ones that are tested for it."""

HEEDED = """
import os
heed = signal.signal
def heeding(*what):
    heed(*what)
    signal.signal = heed
    os.write({0}, b"x")
    os.close({0})
signal.signal = heeding
"""
"""Tells that the command has begun to heed Ctrl-C: before that Python starts, whose traceback is not ours."""


@pytest.mark.parametrize("after", [0.0, 0.02, 0.05, 0.1, 0.2, 0.4, 0.8])
@pytest.mark.parametrize("command", ["critique nasnet-a-large", "train good.yaml --epochs 50 --out made"])
def test_ctrl_c_is_answered_by_one_line_from_the_first_import_on(command: str, after: float, tmp_path: Path) -> None:
    (tmp_path / "good.yaml").write_text(GOOD_DESIGN)
    reading, writing = os.pipe()
    python = [sys.executable, "-c", f"{HEARD}\n{HEEDED.format(writing)}\n{LAUNCH}", *command.split()]
    streams = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "pass_fds": [writing]}
    process = subprocess.Popen(python, text=True, env=environment(), cwd=tmp_path, **streams)
    os.close(writing)
    assert os.read(reading, 1) == b"x"
    os.close(reading)
    time.sleep(after)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=6 * SECONDS)
    if process.returncode == 0 and not err:
        return  # it was quicker
    assert process.returncode == 130, err
    assert err.strip().splitlines()[-1].startswith("cnnatomy: interrupted"), err
    assert "Traceback" not in err


def test_ctrl_c_that_a_library_catches_while_it_is_imported_is_still_ctrl_c() -> None:
    """As numpy's does, whose own import then fails of a module that was not loaded."""
    program = f"""{HEARD}
import os
import cnnatomy.cli
from cnnatomy.__main__ import run

def importing():
    try:
        os.kill(os.getpid(), signal.SIGINT)
    except KeyboardInterrupt:
        raise AttributeError("module has no attribute")

cnnatomy.cli.main = importing
run()
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment())
    assert (ran.returncode, ran.stderr) == (130, "cnnatomy: interrupted\n")


def test_ctrl_c_while_torch_is_imported_ends_before_its_cpp_can_abort_of_it() -> None:
    program = f"""{HEARD}
import os, sys
import cnnatomy.cli
from cnnatomy.__main__ import run

class Interrupting:
    def find_spec(self, name, path=None, target=None):
        if name == "torch.distributed":
            os.kill(os.getpid(), signal.SIGINT)

def importing():
    sys.meta_path.insert(0, Interrupting())
    try:
        import torch
    finally:
        print("torch went on")

cnnatomy.cli.main = importing
run()
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment())
    assert (ran.returncode, ran.stdout, ran.stderr) == (130, "", "cnnatomy: interrupted\n")


@pytest.mark.parametrize(
    "redirect",
    ["", ">&-", "<&-", ">&- <&-", "2>&-", "| head -1", "| true", ">/dev/full", "2>/dev/full", "2>&1 | head -1"],
)
@pytest.mark.parametrize("command", ["list", "show resnet-50", "show missing.yaml"])
def test_a_shell_may_close_or_fill_any_stream(command: str, redirect: str, tmp_path: Path) -> None:
    line = f'set -o pipefail; "$0" -c "$1" {command} {redirect}'
    shell = ["bash", "-c", line, sys.executable, LAUNCH]
    seconds = 6 * SECONDS
    ran = subprocess.run(shell, capture_output=True, text=True, env=environment(), cwd=tmp_path, timeout=seconds)
    expected = 2 if "missing" in command or redirect.startswith((">/dev/full", ">&-")) else 0
    assert ran.returncode in (expected, 141 if "|" in redirect else expected), ran.stderr
    assert "Traceback" not in ran.stderr
    assert "Exception ignored" not in ran.stderr
    assert "Errno" not in ran.stderr
    assert len(ran.stderr.splitlines()) <= 1


def test_the_package_can_be_run_as_a_module() -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "cnnatomy", "--version"], capture_output=True, text=True, env=environment()
    )
    assert ran.returncode == 0, ran.stderr
