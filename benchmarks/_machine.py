"""What a benchmark ran on, in one line, so that no number is quoted without it."""

from __future__ import annotations

import platform

from cnnatomy import machine


def describe() -> str:
    """CPU, cores, memory, operating system, Python and torch (by its metadata: torch is not imported)."""
    memory = machine.memory()
    parts = [
        machine.processor(),
        f"{machine.cores()} cores",
        f"{memory / 2**30:.0f} GiB" if memory else "",
        _system(),
        f"Python {platform.python_version()}",
        f"torch {machine.versions('torch').get('torch', 'not installed')}",
    ]
    return ", ".join(part for part in parts if part)


def _system() -> str:
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        return platform.platform(terse=True)


if __name__ == "__main__":
    print(describe())
