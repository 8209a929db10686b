"""Tar files as WebDataset has them: which samples are in them, and where the bytes of each begin.

Members of one name up to the first dot of their file name are one sample, and what follows that dot is what each is.
Only headers are read; a member is then read by its place, so that threads and processes share nothing.
"""

from __future__ import annotations

import os
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, NamedTuple

from cnnatomy.data.image_set import SPLIT_NAMES
from cnnatomy.data.images import ImageError
from cnnatomy.errors import UserError, printable, shown
from cnnatomy.files import open_regular, regular_file
from cnnatomy.limits import MAX_DATA_IMAGES, MAX_HEADER_BYTES, MAX_SHARD_BYTES, MAX_SHARDS

SUFFIX = ".tar"
COMPRESSED = (".tar.gz", ".tgz", ".tar.zst", ".tar.bz2", ".tar.xz")
_EXTENDED, _TYPE = b"LKxgX", 156
"""Types of members that say something of the next one, and the byte of a header that has the type."""
_RANGE = re.compile(r"\{(\d{1,9})\.\.(\d{1,9})\}")


class Member(NamedTuple):
    """Where the bytes of a file lie in a shard."""

    start: int
    size: int


@dataclass(frozen=True)
class ShardSample:
    """What belongs together: members by what follows the first dot of their names, in lower case."""

    shard: Path
    key: str
    members: dict[str, Member]

    @property
    def name(self) -> str:
        """For messages."""
        return printable(f"{self.shard.name}/{self.key}")


def read_member(shard: Path, member: Member, limit: int) -> bytes:
    """The bytes at a place of a shard; raises `ImageError` with the reason, also where the shard has become shorter."""
    if member.size > limit:
        raise ImageError(f"{member.size:,} bytes; at most {limit:,} are read")
    try:
        with regular_file(shard)[0] as file:
            content = os.pread(file.fileno(), member.size, member.start)
    except OSError as error:
        raise ImageError(f"{shard.name}: {error.strerror}") from None
    if len(content) != member.size:
        raise ImageError(f"{shard.name} has become shorter")
    return content


def shards_of(name: str) -> list[Path]:
    """The tar files that a name means: `part-{000..012}.tar`, one, or those of a folder and the folders in it.

    Raises:
        UserError: for one that is missing or compressed.
    """
    path = Path(name)
    if path.is_dir():
        found = sorted(each for each in (*path.iterdir(), *path.glob("*/*")) if is_shard(each.name))
    else:
        found = [Path(each) for each in _expanded(name)]
    for shard in found:
        if not shard.exists():
            raise UserError(f"{printable(shard)} does not exist, which {printable(name)} names")
        if shard.name.lower().endswith(COMPRESSED):
            raise UserError(
                f"{printable(shard)} is compressed, so that no image in it can be read by its place: unpack it to"
                f" {SUFFIX}, such as by gunzip"
            )
    return found


def is_shard(name: str) -> bool:
    """Whether it is the name of a tar file, compressed or not."""
    return name.lower().endswith((SUFFIX, *COMPRESSED)) and not name.startswith(".")


def _expanded(name: str) -> Iterator[str]:
    found = _RANGE.search(name)
    if found is None:
        yield name
        return
    first, last = map(int, found.groups())
    if not 0 <= last - first < MAX_SHARDS:
        raise UserError(f"{printable(name)}: {found[0]}: expected a range upwards, of {MAX_SHARDS:,} shards at most")
    for number in range(first, last + 1):
        yield from _expanded(f"{name[: found.start()]}{number:0{len(found[1])}}{name[found.end() :]}")


def split_of(shard: Path, above: Path) -> int | None:
    """The split that a shard's name or its folder's, below `above`, tells of."""
    below = shard.relative_to(above) if shard.is_relative_to(above) else Path(shard.name)
    words = re.split("[^a-z]+", str(below.with_suffix("")).lower())
    return next((SPLIT_NAMES[word] for word in words if word in SPLIT_NAMES), None)


def samples_in(shard: Path) -> list[ShardSample]:
    """The samples of a shard in order, by one pass over its headers.

    Raises:
        UserError: naming the shard where it is no tar file, or truncated, or has a member twice.
    """
    members: dict[str, dict[str, Member]] = {}
    with open_regular(shard, MAX_SHARD_BYTES, "the shard") as file:
        try:
            for name, member in _members(file):
                key, what = _parts(name)
                if what in members.setdefault(key, {}):
                    raise UserError(f"{printable(shard)} has two members named {shown(name)}")
                members[key][what] = member
                if len(members) > MAX_DATA_IMAGES:
                    raise UserError(f"{printable(shard)} has more than {MAX_DATA_IMAGES:,} samples: divide it")
        except (tarfile.TarError, OSError, ValueError, IndexError, RecursionError) as error:
            raise UserError(
                f"{printable(shard)}: broken or truncated tar file ({shown(error)}): fetch it again"
            ) from None
    return [ShardSample(shard, key, found) for key, found in members.items()]


def _members(file: IO[bytes]) -> Iterator[tuple[str, Member]]:
    """Regular files by name, up to a block of zeros or the end of the shard."""
    size = os.fstat(file.fileno()).st_size
    _check_header(file)  # opening reads the first
    with tarfile.open(fileobj=file, mode="r:") as archive:
        place = 0
        while True:
            if place > size:
                raise tarfile.ReadError("it ends within a block")
            file.seek(place)
            if not any(file.read(tarfile.BLOCKSIZE)):
                return
            file.seek(place)
            _check_header(file)
            header = tarfile.TarInfo.fromtarfile(archive)
            if header.size < 0 or header.offset_data + header.size > size:
                raise tarfile.ReadError(f"it ends within {header.name}")
            place = archive.offset  # of the next header
            if header.isreg() and not header.issparse() and not _is_hidden(header.name):
                yield header.name, Member(header.offset_data, header.size)


def _check_header(file: IO[bytes]) -> None:
    """Raises `tarfile.TarError` for long names and headers of PAX larger than any: tarfile reads them whole."""
    place, total = file.tell(), 0
    while True:
        block = file.read(tarfile.BLOCKSIZE)
        if len(block) < tarfile.BLOCKSIZE or block[_TYPE] not in _EXTENDED:
            break
        size = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape").size
        total += size
        if size < 0 or total > MAX_HEADER_BYTES:
            raise tarfile.ReadError(f"headers of {total:,} bytes; at most {MAX_HEADER_BYTES:,} are read")
        file.seek(-(-size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE, os.SEEK_CUR)
    file.seek(place)


def _is_hidden(name: str) -> bool:
    return name.rpartition("/")[2].startswith(".")


def _parts(name: str) -> tuple[str, str]:
    """The key of a member, and what it is: `a/b.seg.png` is `seg.png` of `a/b`."""
    folder, slash, file = name.removeprefix("./").rpartition("/")
    stem, _, what = file.partition(".")
    return folder + slash + stem, what.lower()
