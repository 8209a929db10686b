"""How much memory a training really takes at its peak."""

from __future__ import annotations

import re
from pathlib import Path
from types import TracebackType
from typing import Self

import torch

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


class Peak:
    """Measures what is in between. `bytes` is None where the system does not say.

    On a GPU what torch had allocated at most; elsewhere by how much the memory of this process grew (Linux).
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.bytes: int | None = None

    def __enter__(self) -> Self:
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        else:
            try:
                CLEAR.write_text("5")  # from now on VmHWM is the peak
            except OSError:
                self._before = None
            else:
                self._before = _status("VmRSS")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self.device.type == "cuda":
            self.bytes = torch.cuda.max_memory_allocated(self.device)
        elif self._before is not None:
            peak = _status("VmHWM")
            self.bytes = max(0, peak - self._before) if peak is not None else None


def _status(name: str) -> int | None:
    try:
        found = re.search(rf"^{name}:\s+(\d+) kB", STATUS.read_text(), re.M)
    except OSError:
        return None
    return int(found[1]) * 1024 if found else None
