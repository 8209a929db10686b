"""How much memory a training really takes at its peak."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path

import torch

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


class Peak:
    """Measures from when it is made: on a GPU what torch allocates, elsewhere by how much this process grows."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._before: int | None = None
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
            self._before = torch.cuda.memory_allocated(device)
        else:
            with suppress(OSError):
                CLEAR.write_text("5")  # from now on VmHWM is the peak
                self._before = _status("VmRSS")

    @property
    def bytes(self) -> int | None:
        """The peak until now; None where the system does not say (all but Linux)."""
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device) - (self._before or 0)
        peak = _status("VmHWM")
        return max(0, peak - self._before) if peak is not None and self._before is not None else None


def _status(name: str) -> int | None:
    try:
        found = re.search(rf"^{name}:\s+(\d+) kB", STATUS.read_text(), re.M)
    except OSError:
        return None
    return int(found[1]) * 1024 if found else None
