"""Files are written whole or not at all, and a new one never over another."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from cnnatomy import UserError
from cnnatomy.files import check_new, read_bytes, read_text, write_new, write_text, writing_to


def fill_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)


def test_a_new_file_is_written_in_utf_8(tmp_path: Path) -> None:
    write_new(tmp_path / "new", "größe")
    assert (tmp_path / "new").read_bytes() == "größe".encode()
    assert [file.name for file in tmp_path.iterdir()] == ["new"]


def test_a_new_file_is_never_written_over_another(tmp_path: Path) -> None:
    path = tmp_path / "precious"
    path.write_text("precious")
    for refused in (check_new, lambda path: write_new(path, "other")):
        with pytest.raises(UserError, match=r"precious is there already, and is not overwritten; choose another name"):
            refused(path)
    assert path.read_text() == "precious"


def test_a_link_to_nowhere_is_a_name_that_is_taken(tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "nowhere")
    for refused in (check_new, lambda path: write_new(path, "other")):
        with pytest.raises(UserError, match="is there already"):
            refused(link)
    assert list(tmp_path.iterdir()) == [link]


def test_what_is_no_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot write .*new: 'utf-8' codec can't encode character"):
        write_new(tmp_path / "new", "\udcff")
    assert list(tmp_path.iterdir()) == []


def test_on_a_full_disk_nothing_is_left_of_a_new_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill_the_disk(monkeypatch)
    with (
        pytest.raises(UserError, match=r"no space left for .*new \(.* MiB free\)\. Make room\."),
        writing_to(tmp_path / "new"),
    ):
        write_new(tmp_path / "new", "text")
    assert list(tmp_path.iterdir()) == []


def test_on_a_full_disk_the_old_file_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("old")
    fill_the_disk(monkeypatch)
    with pytest.raises(OSError, match="No space left"):
        write_text(tmp_path / "file", "new")
    assert (tmp_path / "file").read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 1


def test_the_file_that_was_meant_is_named(tmp_path: Path) -> None:
    path = tmp_path / "none" / "file"
    with pytest.raises(UserError, match=rf"^cannot write {path}: No such file or directory\.$"), writing_to(path):
        write_text(path, "new")


def test_only_regular_files_are_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "zero").symlink_to("/dev/zero")
    for name, what in (("pipe", "a pipe"), ("zero", "a device")):
        with pytest.raises(UserError, match=f"cannot read the design: it is {what}, not a regular file"):
            read_bytes(tmp_path / name, 100, "the design")


def test_a_large_file_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "large"
    path.touch()
    os.truncate(path, 10**12)
    with pytest.raises(UserError, match="the design may have at most 100 bytes, this has 1,000,000,000,000"):
        read_bytes(path, 100, "the design")


def test_what_cannot_be_read_says_why(tmp_path: Path) -> None:
    for name, reason in (
        ("missing", "No such file"),
        (".", "Is a directory"),
        ("n" * 300, "File name too long"),
        ("a\0b", "null byte"),
    ):
        with pytest.raises(UserError, match=reason):
            read_bytes(tmp_path / name, 100, "the design")


def test_text_is_utf_8(tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_bytes("größe\r\n".encode())
    assert read_text(path, 100, "the design") == "größe\n"
    path.write_bytes(b"\xff")
    with pytest.raises(UserError, match="not a text file"):
        read_text(path, 100, "the design")
