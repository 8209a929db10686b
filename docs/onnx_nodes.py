"""Writes docs/onnx-nodes.md: what becomes of ONNX's own tests of its operators."""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "tests"))

from onnx_nodes import page  # noqa: E402

(HERE / "onnx-nodes.md").write_text(page(), encoding="utf-8")
