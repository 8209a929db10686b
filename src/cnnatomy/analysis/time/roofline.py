"""The roofline (Williams et al. 2009): each layer's matrix work against the bytes that it moves, on a named device.

A layer takes at least as long as its arithmetic at the device's peak, and at least as long as its traffic at the
memory's bandwidth. Its arithmetic intensity, FLOPs a byte, says which of the two binds.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import NamedTuple, get_type_hints

from cnnatomy.analysis.accounting import Account, Row
from cnnatomy.errors import UserError, nearest
from cnnatomy.layers.layer import elements
from cnnatomy.plain import checked

BYTES = {"float64": 8, "float32": 4, "tf32": 4, "float16": 2, "bfloat16": 2, "int8": 1}
"""Of one number. tf32 is a way to compute with float32 numbers."""


MAX_FLOPS, MAX_BANDWIDTH = 1e18, 1e15
"""FLOP/s and bytes/s of one device; more is a mistake in writing."""


@dataclass(frozen=True)
class Device:
    """What a data sheet promises.

    Attributes:
        name: of the device, in full.
        flops: peak FLOP/s by number format, dense; a multiply-accumulate is two.
        bandwidth: bytes a second between memory and chip.
        source: where the figures are printed.
        derived: how they follow from what is printed there, where they are not.
    """

    name: str
    flops: dict[str, float]
    bandwidth: float
    source: str
    derived: str = ""

    def __post_init__(self) -> None:
        for dtype, peak in self.flops.items():
            if dtype not in BYTES:
                raise UserError(f"{self.name}: {dtype!r} is no number format; those known are {', '.join(BYTES)}")
            if not 0 < peak < MAX_FLOPS:
                raise UserError(f"{self.name}: {dtype} must be above 0 and below {MAX_FLOPS:g} FLOP/s, got {peak}")
        if not self.flops:
            raise UserError(f"{self.name}: needs the FLOP/s of at least one number format")
        if not 0 < self.bandwidth < MAX_BANDWIDTH:
            wrong = f"must be above 0 and below {MAX_BANDWIDTH:g} bytes/s, got {self.bandwidth}"
            raise UserError(f"{self.name}: bandwidth {wrong}")


class Bound(NamedTuple):
    """One layer on the roofline, for a whole batch.

    Attributes:
        row: of the account.
        flops: 2 for each multiply-accumulate of a convolution or matrix product.
        bytes: inputs, output, weights and statistics, each moved once; 0 for a layer that only looks at its input
            otherwise (a reshape, a slice, dropout in evaluation).
        intensity: FLOPs a byte.
        compute, memory: seconds at the device's peak, and at its bandwidth.
    """

    row: Row
    flops: int
    bytes: int
    intensity: float
    compute: float
    memory: float

    @property
    def seconds(self) -> float:
        """The time that it takes at least."""
        return max(self.compute, self.memory)

    @property
    def bound(self) -> str:
        """What limits it: compute, memory, or nothing where it does nothing."""
        if not self.seconds:
            return "nothing"
        return "compute" if self.compute > self.memory else "memory"


@cache
def devices() -> dict[str, Device]:
    """The devices of `devices.yaml` by name."""
    import yaml

    text = files("cnnatomy.analysis.time").joinpath("devices.yaml").read_text(encoding="utf-8")
    hints = get_type_hints(Device)
    return {
        name: Device(**{key: checked(got, hints[key], f"{name}: {key}") for key, got in entry.items()})
        for name, entry in yaml.safe_load(text).items()
    }


def device(name: str) -> Device:
    """The device of this name, in any case.

    Raises:
        UserError: naming the nearest, if there is none.
    """
    known = devices()
    if name.lower() not in known:
        raise UserError(f"there is no device {name!r}.{nearest(name, known)} There are: here, {', '.join(known)}")
    return known[name.lower()]


def roofline(account: Account, on: Device, batch: int = 1, dtype: str = "float32") -> list[Bound]:
    """Every layer on the roofline of a device.

    Raises:
        UserError: if the device has no peak for this number format.
    """
    if dtype not in on.flops:
        raise UserError(f"{on.name} has no figure for {dtype}; it has {', '.join(on.flops)}")
    peak, size = on.flops[dtype], BYTES[dtype]
    bounds = []
    for row in account.rows:
        moved = 0
        if not row.node.layer.is_view(training=False):
            maps = sum(map(elements, row.inputs)) + elements(row.output)
            moved = size * (batch * maps + row.parameters + row.buffers)
        flops = 2 * row.operations.mac * batch
        bounds.append(Bound(row, flops, moved, flops / moved if moved else 0.0, flops / peak, moved / on.bandwidth))
    return bounds
