"""Writes the pages of docs/tables: every table of the lectures, recomputed beside what was printed.

    python docs/tables/generate.py [FOLDER]      FOLDER: this one, unless told otherwise

Stops at a cell that no way of counting and no erratum explains.
"""

from __future__ import annotations

import sys
from pathlib import Path

from compute.cells import UnexplainedError
from compute.pages import pages


def main(folder: Path) -> None:
    """Writes every page that has changed."""
    for name, text in pages().items():
        path = folder / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
            print(f"wrote {path}")


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
    except UnexplainedError as error:
        sys.exit(f"generate.py: {error}")
