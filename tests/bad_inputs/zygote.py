"""A process that has imported what commands import, and forks a child for each command line that it is sent.

A child goes on as the console script would, and ends as Python does, but for the freeing of memory, which takes longer
than most commands. Jobs come as lines of JSON on standard input, and answers leave so on standard output.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import io
import json
import os
import pkgutil
import pty
import resource
import signal
import sys
import termios
import threading
import time
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

HEADROOM = 1_500_000_000
"""Bytes of address space that a command may take beyond those of this process: a net below the machine's own memory."""

LIGHT = ("limits", "files", "machine", "plain", "layers", "design", "catalogue", "analysis", "edits", "critique")
NEED_TORCH = ("cnnatomy.layers.torch_modules", "cnnatomy.design.build")
LIGHT_READERS = ("readers.yaml", "readers.caffe")


def entry_point() -> tuple[str, str]:
    """The module and the function that the console script calls."""
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    module, _, name = project["scripts"]["cnnatomy"].partition(":")
    return module, name


def import_all(*packages: str) -> None:
    """Imports these packages of cnnatomy and all modules in them."""
    for package in packages:
        module = importlib.import_module(f"cnnatomy.{package}")
        for found in pkgutil.walk_packages(getattr(module, "__path__", ()), f"{module.__name__}."):
            if found.name not in NEED_TORCH or "torch" in sys.modules:
                importlib.import_module(found.name)


TENSORBOARD = "torch.utils.tensorboard"


def warm_up(heavy: bool) -> None:
    """Imports what the commands import, and runs nothing: a process with threads cannot be forked."""
    import_all(*LIGHT, *LIGHT_READERS, "report", "commands")
    if heavy:
        import_all("readers.onnx", "readers.torch", "timing", "data", "runs", "training")
        for name in (
            "onnx.reference",
            "PIL.PngImagePlugin",
            "PIL.JpegImagePlugin",
            "sklearn.datasets",
            "rich.console",
            TENSORBOARD,
        ):
            importlib.import_module(name)
    gc.collect()
    gc.freeze()


def pages(which: int) -> int:
    """Bytes of this process: all (0), or those in memory (1)."""
    return int(Path("/proc/self/statm").read_text().split()[which]) * resource.getpagesize()


def serve(jobs: io.TextIOWrapper, answers: int) -> dict[str, Any] | None:
    """Runs jobs until there are no more, and returns None; in a child, its job."""
    for line in jobs:
        job = json.loads(line)
        ends = pipes_for(job)
        size, memory = pages(0), pages(1)
        child = os.fork()
        if not child:
            for number in (answers, ends[0]):
                if number is not None:
                    os.close(number)
            become(job, ends[1], size)
            return job
        if ends[1] is not None:
            os.close(ends[1])
        answer = watch(child, job, ends[0]) | {"memory_before": memory}
        os.write(answers, json.dumps(answer).encode() + b"\n")
    return None


def pipes_for(job: dict[str, Any]) -> tuple[int | None, int | None]:
    """Where the output of the child is read, and where it goes, if that is no file."""
    if job["stdout"] == "terminal":
        ours, theirs = pty.openpty()
        mode = termios.tcgetattr(theirs)
        mode[1] &= ~termios.OPOST
        termios.tcsetattr(theirs, termios.TCSANOW, mode)
    elif job["stdout"] == "head":
        ours, theirs = os.pipe()
    else:
        return None, None
    os.set_blocking(ours, False)
    return ours, theirs


def become(job: dict[str, Any], output: int | None, size: int) -> None:
    """Makes this child a process of its own: folder, environment, limits, standard streams and arguments."""
    os.setsid()
    os.chdir(job["folder"])
    os.environ.clear()
    os.environ.update(job["environment"])
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (size + HEADROOM, size + HEADROOM))
    resource.setrlimit(resource.RLIMIT_CPU, (job["processor_seconds"], job["processor_seconds"] + 1))
    captured = Path(job["captured"])
    created = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    os.dup2(os.open(captured / "stdin", os.O_RDONLY), 0)
    os.dup2(os.open(captured / "stderr", created), 2)
    if output is not None:
        os.dup2(output, 1)
        if job["stdout"] == "terminal":
            os.dup2(output, 2)
    elif job["stdout"] == "full":
        os.dup2(os.open("/dev/full", os.O_WRONLY), 1)
    elif job["stdout"] == "closed":
        os.close(1)
    else:
        os.dup2(os.open(captured / "stdout", created), 1)
    name, _, errors = job["environment"].get("PYTHONIOENCODING", "utf-8").partition(":")
    sys.stdin = open(0, encoding=name, closefd=False)  # noqa: SIM115 - for as long as the child lives
    sys.stdout = None if job["stdout"] == "closed" else text_stream(1, name, errors)
    sys.stderr = text_stream(2, name, "backslashreplace")
    sys.argv = ["cnnatomy", *job["command"]]


def text_stream(number: int, encoding: str, errors: str) -> io.TextIOWrapper:
    """A standard stream as Python makes one."""
    lines = number == 2 or os.isatty(number)
    return open(number, "w", encoding=encoding, errors=errors or "strict", buffering=1 if lines else -1, closefd=False)


def finish(command: Callable[[], object]) -> int:
    """Runs the command, ends as Python does, and returns its exit code."""
    try:
        command()
        code = 0
    except SystemExit as leaving:
        code = leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)
    except BaseException:
        sys.excepthook(*sys.exc_info())
        code = 1
    threading._shutdown()
    atexit._run_exitfuncs()
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError as error:
        print(f"Exception ignored in: {sys.stdout!r}\n{error!r}", file=sys.stderr)
        code = 120
    return code


def watch(child: int, job: dict[str, Any], output: int | None) -> dict[str, Any]:
    """Waits for a child, no longer than its time, and says how it ended and what it took."""
    until, pause, hung, seen = time.monotonic() + job["seconds"], 0.001, False, b""
    while True:
        output, seen = listen(output, seen, job["stdout"] == "head")
        ended, status, used = os.wait4(child, os.WNOHANG)
        if ended:
            break
        if time.monotonic() > until:
            hung, until = True, until + 60
            os.killpg(child, signal.SIGKILL)
        time.sleep(pause)
        pause = min(pause * 1.2, 0.02)
    listen(output, seen, False, Path(job["captured"]))
    return {
        "code": os.waitstatus_to_exitcode(status),
        "hung": hung,
        "processor_seconds": used.ru_utime + used.ru_stime,
        "memory": used.ru_maxrss * 1024,
    }


def listen(output: int | None, seen: bytes, leaves: bool, folder: Path | None = None) -> tuple[int | None, bytes]:
    """Reads what there is; leaves after a line where told so, and at the end puts all into a file."""
    while output is not None:
        try:
            piece = os.read(output, 65_536)
        except BlockingIOError:
            break
        except OSError:  # a terminal whose other side is closed
            break
        if not piece:
            break
        seen += piece
        if leaves and b"\n" in seen:
            os.close(output)
            output = None
    if folder is not None and output is not None:
        (folder / "stdout").write_bytes(seen)
        os.close(output)
    elif folder is not None and seen:
        (folder / "stdout").write_bytes(seen)
    return output, seen


if __name__ == "__main__":
    del sys.path[0]  # the names of this folder are not those of modules that a user may have
    jobs, answers = os.fdopen(os.dup(0), encoding="utf-8"), os.dup(1)
    os.dup2(os.open(os.devnull, os.O_RDWR), 0)
    os.dup2(0, 1)
    module, name = entry_point()
    command = getattr(importlib.import_module(module), name)
    warm_up("heavy" in sys.argv)
    os.write(answers, b"ready\n")
    if serve(jobs, answers):
        os._exit(finish(command))
