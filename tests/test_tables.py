"""The tables of the lectures: every printed cell is equal, explained by a named convention, or a known erratum."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TABLES_FOLDER = ROOT / "docs" / "tables"
sys.path.insert(0, str(TABLES_FOLDER))

from compute.cells import CONVENTION, EQUAL, ERRATA, ERRATUM, Claim, Table, UnexplainedError, Way  # noqa: E402
from compute.errata import FACTS, Fact  # noqa: E402
from compute.pages import TABLES, pages  # noqa: E402

CHECKS = json.loads((ROOT / "tests" / "goldens" / "printed_checks.json").read_text())
BY_NAME = {table.name: table for table in TABLES}

# Where the independent recomputation called a cell right that is not: 437K for 438.0, allowed one off.
TOO_KIND = {("googlenet", 8, "params")}


@pytest.fixture(params=TABLES, ids=lambda table: table.name)
def table(request: pytest.FixtureRequest) -> Table:
    return request.param


def test_nothing_that_is_printed_is_left_out(table):
    assert table.unclaimed() == []


def test_every_cell_has_a_status_that_its_number_earns(table):
    for cell in table.cells():
        if cell.status == EQUAL:
            assert cell.way is cell.ours
            assert not cell.way.name
        elif cell.status == CONVENTION:
            assert cell.way.name
            assert cell.ours.name or not cell.ours.agrees(cell.printed)  # accuracies are not counted: all have a source
        else:
            assert cell.status == ERRATUM
            assert cell.erratum in ERRATA
            assert not cell.ours.agrees(cell.printed)
        if cell.status != ERRATUM:
            assert cell.way.agrees(cell.printed)


def test_all_287_cells_that_were_recomputed_independently_are_here_and_agree():
    assert len(CHECKS) == 287
    claims = {(name, claim.row, claim.column): claim for name, table in BY_NAME.items() for claim in table.claims()}
    status = {(name, cell.row, cell.column): cell.status for name, table in BY_NAME.items() for cell in table.cells()}
    differ, judged_otherwise = [], set()
    for name, cells, recomputed, right in CHECKS:
        for (row, column), number in zip(cells, recomputed, strict=True):
            key = (name, row, column)
            if not any(way._replace(truncated=False, kilo=1000).agrees(number) for way in claims[key].ways):
                differ.append((*key, number))
            if right == (status[key] == ERRATUM):
                judged_otherwise.add(key)
    assert differ == []
    assert judged_otherwise == TOO_KIND


@pytest.mark.parametrize("fact", FACTS, ids=lambda fact: f"{fact.erratum}: {fact.what}")
def test_what_an_erratum_says_in_numbers_is_what_we_count(fact: Fact):
    assert fact.found() == fact.named
    assert fact.erratum in ERRATA


def test_there_are_59_errata_each_with_a_place_in_the_index():
    assert list(ERRATA) == [f"E{number:02}" for number in range(1, 60)]
    index = pages()["README.md"]
    assert all(f"\n### {name}\n" in index for name in ERRATA)


def test_every_erratum_that_a_page_names_exists(table):
    assert set(table.errata) <= set(ERRATA)


def test_the_pages_are_up_to_date():
    there = {path.name: path.read_text(encoding="utf-8") for path in TABLES_FOLDER.glob("*.md")}
    assert there == pages(), "run `make tables`"


def test_a_cell_that_nothing_explains_is_refused():
    def claims(got: int, erratum: str = "") -> Table:
        return Table("mnist", "", "", lambda: [Claim(3, "MNIST", [Way(got)], erratum)])

    assert claims(10).cells()[0].status == EQUAL
    assert claims(11, "E57").cells()[0].status == ERRATUM
    with pytest.raises(UnexplainedError, match="mnist: nothing explains 3 MNIST: '10'"):
        claims(11).cells()
    with pytest.raises(UnexplainedError, match="nothing explains"):
        claims(11, "E99").cells()
    with pytest.raises(UnexplainedError, match="E57 is none"):
        claims(10, "E57").cells()


@pytest.mark.parametrize(
    ("way", "printed", "agrees"),
    [
        (Way(25_502_912), "25.5 x 10^6", True),
        (Way(25_557_032), "25.5 x 10^6", False),
        (Way(3_858_000_000), "3.8x10^9", False),
        (Way(3_858_000_000, truncated=True), "3.8x10^9", True),
        (Way(2_800, kilo=1024), "2.7K", True),
        (Way(2_712, kilo=1024), "2.7K", False),
        (Way(128_049_152, kilo=1024), "128 M", True),
        (Way("112 x 112 x 64"), "112x112x64", True),
        (Way("[ 1 x 1, 64 ] x 3"), "[ 1x1, 65 ] x 3", False),
        (Way(14_208), "14,208", True),
        (Way(14_208), "14,209", False),
        (Way(1), "-", False),
    ],
)
def test_agreement_is_to_the_digits_that_are_printed(way, printed, agrees):
    assert way.agrees(printed) == agrees
