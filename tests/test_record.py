"""Every command answers what it answered when its answers were recorded: see `record.py`."""

from __future__ import annotations

import pytest

import record


@pytest.mark.full
def test_no_answer_of_any_command_differs_from_the_one_on_record(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where one should, `python tests/record.py --write` records it, and the commit says why."""
    monkeypatch.setenv("XDG_CACHE_HOME", "")  # `differences` sets it, and both it and the folder are put back
    monkeypatch.chdir(record.TESTS)
    _, differ = record.differences(record.everything())
    assert not differ, "answers that differ:\n" + "\n".join(differ)
