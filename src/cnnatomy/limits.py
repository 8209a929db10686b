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

MAX_AXES = 32
"""Of a tensor, the batch too; numpy 1 has no more, and a network for images uses five."""

MAX_ELEMENTS = 2**63 - 1
"""Of one tensor: torch and ONNX number them in 64 bits."""

MAX_NAME_LENGTH = 200
"""Characters of a name in a path or a message; what is longer is cut."""

MAX_ONNX_NODES = 8_000
"""Constants among them, those of graphs in graphs too, and those of a function as often as it is called."""

MAX_ONNX_FIELDS = 700_000
"""Names, sizes, attributes and whatever else an ONNX file consists of, but for the numbers in tensors."""

MAX_INLINED_BYTES = 100_000_000
"""Of all functions of an ONNX file where they are called, without weights."""

MAX_VALUES = 10_000
"""Tensors with more elements are weights: their values play no part in any shape and are discarded at once."""

MAX_FOLDED_VALUES = 1_000_000
"""Elements that all nodes of an ONNX file read and make which no input reaches; of further ones only shapes are known.

Those of a few elements, with which shapes are computed, do not count."""

MAX_FOLDED_TENSORS = 1_000
"""Learned tensors of an ONNX file that one tensor is computed from."""

MAX_NUMBER_LENGTH = 40
"""Characters of a number in a prototxt."""

MAX_STRING_LENGTH = 100_000
"""Characters of a string in a prototxt."""

MAX_PROTOTXT_TOKENS = 400_000
"""Words, numbers, strings and marks of a prototxt; a layer has about thirty."""

MAX_CAFFE_LAYERS = 10_000
"""Layers of a prototxt, and the blobs that they make."""
