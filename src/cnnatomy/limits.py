"""Limits on what comes in. Each is looked at before anything is made of it, so that no small input commands much.

Far above what any network or image set needs, and low enough that a refusal comes at once.
"""

from __future__ import annotations

MAX_LAYERS = 20_000
"""Layers and blocks that a description unrolls into; the deepest networks that were ever trained have a tenth."""

MAX_NESTING = 100
"""Blocks in blocks, messages in messages, lists in lists."""

MAX_DESIGN_BYTES = 10_000_000
"""Of a YAML design or a prototxt."""

MAX_RECORD_BYTES = 10_000_000
"""Of a file of JSON or YAML that cnnatomy itself wrote, such as run.json."""

MAX_ONNX_BYTES = 2**31
"""A protocol buffer cannot be larger."""

MAX_INPUT_SIZE = 1_000_000
"""Channels, rows or columns of an input."""

MAX_IMAGE_PIXELS = 89_478_485
"""Pillow's own limit (a quarter of a GiB at 3 bytes a pixel); more is taken for a decompression bomb."""

MAX_WEIGHTS_BYTES = 2**37
"""Of a file of weights, or of a checkpoint: 128 GiB, sixteen billion numbers with the velocity of each."""

MAX_CLASSES = 10_000_000
"""Of a classifier."""
