"""Limits on what comes in. Each is looked at before anything is made of it, so that no small input commands much.

Far above what any network or image set needs, and low enough that a refusal comes at once.
"""

from __future__ import annotations

MAX_LAYERS = 20_000
"""Layers and blocks that a description unrolls into; ResNet-1202, the deepest that papers train, is a fifth."""

MAX_NESTING = 100
"""Blocks in blocks, messages in messages, lists in lists."""

MAX_DESIGN_BYTES = 10_000_000
"""Of a YAML design, a recipe, or a prototxt."""

MAX_RECORD_BYTES = 10_000_000
"""Of a file of JSON or YAML that cnnatomy itself wrote, such as run.json."""

MAX_SETTINGS_BYTES = 1_000_000
"""Of a pyproject.toml."""

MAX_CRITICISED = 10_000
"""Files in a folder that may be designs, where `critique` is given the folder."""

MAX_NAMES_BYTES = 10_000_000
"""Of a file of class names."""

MAX_ONNX_BYTES = 2**31
"""A protocol buffer cannot be larger."""

MAX_INPUT_SIZE = 1_000_000
"""Channels, rows or columns of an input."""

MAX_INPUTS = 1_000
"""Inputs of a network that a user gives the shapes of."""

MAX_IMAGE_PIXELS = 62_500_000
"""Of an image before it is scaled: as many as the largest cameras for film-sized frames have; decoded, half a GB."""

MAX_YAML_VALUES = 150_000
"""Words, numbers, lists and mappings of a design: seven for each of `MAX_LAYERS`."""

MAX_FIELD_VALUES = 10_000
"""Numbers and words of one field of a layer or block."""

MAX_INTEGER = 2**63 - 1
"""Of a number in a design, as torch and every format of networks have it."""

MAX_LAYER_SIZE = 1_000_000_000
"""Channels or features of a layer, and whatever else is counted in one."""

MAX_WINDOW = 1_000_000
"""Of a kernel, stride, padding, dilation or factor, along one axis: the side of the largest input."""

MAX_MAP_SIDE = 10_000_000
"""Rows or columns of a feature map."""

MAX_MAP_ELEMENTS = 10**15
"""Numbers in one feature map of one image: four petabytes."""

MAX_SPANS = 1_024
"""Ways in which elements of one map see the input along an axis: 32 of a map that is enlarged 32 times."""

MAX_PIXELS_FOLLOWED = 1_000_000
"""Pixels of windows over enlarged maps that are followed to find what their elements see."""

MAX_TWINS = 100_000
"""Pairs of equal parts in two lists of which one is to become the other in the text of a design: about a second."""

MAX_FIXED_LAYERS = 5_000
"""Layers of a network that `critique --fix` changes: it criticises it again after each change."""

MAX_COMPARED = 500
"""Networks side by side: five times the catalogue."""

MAX_BATCH = 1_000_000
"""Images at once."""

MAX_IMAGE_BYTES = 2**30
"""Of an image file: more than so many pixels take uncompressed, with four channels of 16 bits."""

MAX_IDX_BYTES = 2**32
"""Of what the header of an IDX file promises: 4 GiB, 91 times MNIST's training images."""

MAX_CIFAR_BYTES = 2**28
"""Of a batch of CIFAR, as a file and decoded; the largest, CIFAR-100's training images, has 155 million."""

MAX_GZIP_RATIO = 100
"""Bytes that one of a gzipped IDX file may become; of MNIST's it is 5, deflate can do 1,032."""

MAX_SMALL_GZIP_BYTES = 2**22
"""What a gzipped IDX file may become whatever its ratio: labels in the order of their classes shrink to nothing."""

MAX_NAME_BYTES = 2**16
"""Of the name of an image on standard input; no system takes a longer path."""

MAX_AXES = 32
"""Of a tensor, the batch too; numpy 1 has no more, and a network for images uses five."""

MAX_ELEMENTS = 2**63 - 1
"""Of one tensor of a file: torch and ONNX number them in 64 bits."""

MAX_NAME_LENGTH = 200
"""Characters of a name in a path or a message; what is longer is cut."""

MAX_ONNX_NODES = 16_000
"""Constants among them, those of graphs in graphs too, and those of a function as often as it is called.

As many again may be in the bodies of loops, as often as they run."""

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

MAX_CAFFEMODEL_BYTES = 2**31
"""More no protocol buffer has; VGG-19 takes 575 MB."""

MAX_CAFFEMODEL_FIELDS = 1_000_000
"""Of the layers and blobs of a file of weights, without the numbers in them."""

MAX_STORED_ELEMENTS = 2**30
"""Of one weight of a file of others: ten times the largest of VGG-19."""

MAX_COMPUTED_ELEMENTS = 2**33
"""Elements that are read and made to compute the weights of an ONNX file from what it stores: about a minute."""

MAX_NUMBER_LENGTH = 40
"""Characters of a number in a prototxt."""

MAX_STRING_LENGTH = 100_000
"""Characters of a string in a prototxt."""

MAX_PROTOTXT_TOKENS = 300_000
"""Words, numbers, strings and marks of a prototxt; a layer has about thirty."""

MAX_CAFFE_LAYERS = 10_000
"""Layers of a prototxt, and the blobs that they make."""

MAX_REGIONS = 1_000_000
"""That a detector is taken to propose for an image; papers propose from 100 to 2,000."""

MAX_WEIGHTS_BYTES = 2**37
"""Of a file of weights, or of a checkpoint: 128 GiB, sixteen billion numbers with the velocity of each."""

MAX_CLASSES = 10_000_000
"""Of a classifier."""

MAX_SCENES_BYTES = 2**31
"""Of drawn scenes with their targets, which are kept in memory."""

MAX_COCO_BYTES = 2**30
"""Of a file of COCO annotations; those of COCO's 118,287 training images have 469 million."""

MAX_OBJECTS = 1_000
"""Boxes of one image; COCO has 93 at most."""

MAX_IMAGES_COMPARED = 200_000
"""Images of a data set in which near duplicates are looked for, each compared with each: a minute or two."""

MAX_NEAR_PAIRS = 5_000_000
"""Of near duplicates that are kept in memory; of more, as in films, those that connect the same images."""

MAX_PATTERN_LENGTH = 1_000
"""Characters of a regular expression."""

MAX_PATTERN_SECONDS = 20
"""For which a regular expression is searched in the names of all images."""

MAX_FOLDERS = 100_000
"""Folders in which runs are looked for."""

MAX_MANIFEST_BYTES = 2**28
"""Of a manifest, CSV or JSON: some millions of images."""

MAX_DATA_IMAGES = 10_000_000
"""Of a data set, be they rows of a file, samples of shards or one's own: eight times the 1,281,167 of ImageNet."""

MAX_COLUMNS = 1_000
"""Of a manifest."""

MAX_LABELS_HELD = 2**31
"""Labels times images, each of which takes a byte."""

MAX_SHARDS = 100_000
"""Of a data set in tar files; LAION-400M has 41,408."""

MAX_LABEL_BYTES = 2**20
"""Of a member of a shard that says what is in an image."""

MAX_HEADER_BYTES = 2**20
"""Of the headers of one member of a tar file, its long name among them."""

MAX_SHARD_BYTES = 2**43
"""Of a tar file of images: 8 TiB, more than one file is made of anywhere."""

MAX_PARQUET_RATIO = 100
"""Bytes that one of a parquet file may become; images are compressed already, of their labels little is left."""

MAX_SMALL_PARQUET_BYTES = 2**30
"""What a parquet file may become whatever its ratio."""

MAX_OWN_NAMES = 100_000
"""Of the classes, labels or numbers of a class of one's own."""

MAX_STATE_VALUES = 100_000
"""Containers and objects that a module of torch holds, directly or in others, and that are put back after reading."""

MAX_CONSTANT_ELEMENTS = 4_000_000
"""Of a tensor that a module of torch makes by itself and that is computed: a mask of 2000x2000 pixels."""
