"""Trainings in processes of their own, which are killed: by themselves at an exact moment, or from outside.

A process that has imported torch and read the digits forks a child for each training that it is sent. Jobs come as
lines of JSON on standard input; for each an answer leaves on standard output: how the child ended, and what it said.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import kornia.enhance
import kornia.geometry  # noqa: F401
import torch

import cnnatomy as cn
from cnnatomy import Block, Chain, FeatureMap
from cnnatomy.data import Data, load
from cnnatomy.design.parts import conv_bn, conv_bn_relu
from cnnatomy.errors import UserError
from cnnatomy.layers import Add, Conv, Dropout, Flatten, FullyConnected, GlobalAvgPool, MaxPool, ReLU
from cnnatomy.layers.layer import value
from cnnatomy.training import Recipe, fit
from cnnatomy.training.loop import Training
from cnnatomy.training.watching import Watcher

SHAPE = (1, 8, 8)
SECONDS = 120
"""After which a training is killed, whatever it does."""


@value
class Residual(Block):
    """Two convolutions beside a shortcut."""

    width: int

    def __call__(self, x: FeatureMap) -> FeatureMap:
        y = conv_bn(conv_bn_relu(x, self.width, 3), self.width, 3)
        return ReLU()(Add()(x, y))


def residual_network() -> cn.Network:
    """Two residual blocks and a dropout, for images of 8 x 8."""
    return cn.Network(
        tail=Chain(conv=Conv(8, 3, padding=1), relu=ReLU(), pool=MaxPool(2)),
        body=Chain(one=Residual(8), two=Residual(8)),
        head=Chain(pool=GlobalAvgPool(), flatten=Flatten(), drop=Dropout(0.5), output=FullyConnected(10)),
        input=SHAPE,
        name="residual",
    )


class Truncated(Watcher):
    """Cuts off the end of a file after a step."""

    def __init__(self, step: int, path: str) -> None:
        self.at, self.path = step, path

    def step(self, training: Training, loss: torch.Tensor) -> None:
        if training.steps == self.at:
            os.truncate(self.path, os.path.getsize(self.path) // 2)


class Killed(Watcher):
    """Kills its process after a step, as the system does where memory does not suffice: without any warning."""

    def __init__(self, step: int) -> None:
        self.at = step

    def step(self, training: Training, loss: torch.Tensor) -> None:
        if training.steps == self.at:
            os.kill(os.getpid(), signal.SIGKILL)


def kill_at_write(name: str, number: int) -> None:
    """Kills this process instead of the `number`-th call of `os.fsync` or `os.replace`: while a file is written."""
    real, calls = getattr(os, name), [0]

    def counted(*arguments: Any) -> None:
        calls[0] += 1
        if calls[0] == number:
            os.kill(os.getpid(), signal.SIGKILL)
        real(*arguments)

    setattr(os, name, counted)


class Trainings:
    """The process that forks: give it jobs, and it says how they ended."""

    def __enter__(self) -> Self:
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": ":".join(sys.path)}
        self.process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.process.communicate()

    def run(
        self,
        folder: Path,
        recipe: Recipe,
        data: str = "memory",
        resume: bool = False,
        every: float = 1e9,
        step: int = 0,
        write: tuple[str, int] = ("", 0),
        seconds: float = SECONDS,
        truncated: tuple[int, str] = (0, ""),
    ) -> tuple[int, str]:
        """How a training ends: 0, 2 with a message, or -9 where it was killed.

        `data` is `memory`, `workers` or a folder; the process is killed after a step, at a call that writes, or after
        so many seconds. A file is `truncated` after a step.
        """
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        job = {"folder": str(folder), "recipe": recipe.as_dict(), "data": data, "resume": resume}
        job |= {"every": every, "step": step, "write": write, "seconds": seconds, "truncated": truncated}
        self.process.stdin.write(json.dumps(job) + "\n")
        self.process.stdin.flush()
        code, said = json.loads(self.process.stdout.readline())
        assert code in (0, 2, -signal.SIGKILL), said
        return code, said


def _train(job: dict[str, Any], digits: dict[str, Data]) -> str:
    """Does a job in this process; what a user is told where it fails."""
    if job["write"][1]:
        kill_at_write(*job["write"])
    try:
        data = digits[job["data"]] if job["data"] in digits else load(job["data"], SHAPE, memory=0)
        fit(
            residual_network(),
            data,
            Recipe.from_dict(job["recipe"], "the job"),
            job["folder"],
            resume=job["resume"],
            device="cpu",
            watch=[Killed(job["step"]), Truncated(*job["truncated"])],
            checkpoint_every=job["every"],
        )
    except UserError as error:
        return str(error)
    return ""


def _child(job: dict[str, Any], digits: dict[str, Data], answer: int) -> None:
    os.setsid()
    code = 1
    try:
        said = _train(job, digits)
        os.write(answer, said.encode())
        code = 2 if said else 0
    except BaseException as error:
        os.write(answer, repr(error).encode())
        raise
    finally:
        os._exit(code)


def _wait(child: int, seconds: float) -> int:
    """Kills the child when its time is up; its code."""
    until = time.monotonic() + seconds
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > until:
            os.kill(child, signal.SIGKILL)
        time.sleep(0.001)


def main() -> None:
    """Forks a child for every job until there are no more."""
    digits = {"memory": load("digits", SHAPE), "workers": load("digits", SHAPE, memory=0)}
    for line in sys.stdin:
        job = json.loads(line)
        ours, theirs = os.pipe()
        child = os.fork()
        if not child:
            os.close(ours)
            _child(job, digits, theirs)
        os.close(theirs)
        code = _wait(child, job["seconds"])
        os.set_blocking(ours, False)  # workers of a killed child may hold the other end for a while
        try:
            said = os.read(ours, 65_536).decode()
        except BlockingIOError:
            said = ""
        os.close(ours)
        print(json.dumps([code, said]), flush=True)


if __name__ == "__main__":
    del sys.path[0]  # the names of this folder are not those of modules that a user may have
    main()
