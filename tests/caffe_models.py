"""Files of Caffe's weights for tests, written by protobuf from descriptions of Caffe's own messages."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("google.protobuf")
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_KINDS = descriptor_pb2.FieldDescriptorProto
MESSAGES = {  # message: field: (number, type, whether it is repeated)
    "BlobShape": {"dim": (1, _KINDS.TYPE_INT64, True)},
    "BlobProto": {
        "num": (1, _KINDS.TYPE_INT32, False),
        "channels": (2, _KINDS.TYPE_INT32, False),
        "height": (3, _KINDS.TYPE_INT32, False),
        "width": (4, _KINDS.TYPE_INT32, False),
        "data": (5, _KINDS.TYPE_FLOAT, True),
        "diff": (6, _KINDS.TYPE_FLOAT, True),
        "shape": (7, "BlobShape", False),
        "double_data": (8, _KINDS.TYPE_DOUBLE, True),
    },
    "V0LayerParameter": {
        "name": (1, _KINDS.TYPE_STRING, False),
        "type": (2, _KINDS.TYPE_STRING, False),
        "blobs": (50, "BlobProto", True),
    },
    "V1LayerParameter": {
        "layer": (1, "V0LayerParameter", False),
        "bottom": (2, _KINDS.TYPE_STRING, True),
        "name": (4, _KINDS.TYPE_STRING, False),
        "type": (5, _KINDS.TYPE_INT32, False),
        "blobs": (6, "BlobProto", True),
    },
    "LayerParameter": {
        "name": (1, _KINDS.TYPE_STRING, False),
        "type": (2, _KINDS.TYPE_STRING, False),
        "bottom": (3, _KINDS.TYPE_STRING, True),
        "blobs": (7, "BlobProto", True),
    },
    "NetParameter": {
        "name": (1, _KINDS.TYPE_STRING, False),
        "layers": (2, "V1LayerParameter", True),
        "layer": (100, "LayerParameter", True),
    },
}


def _network(packed):
    """The class of a network's message; numbers in one field each, as old files have them, where not `packed`."""
    file = descriptor_pb2.FileDescriptorProto(name="x.proto", package="caffe", syntax="proto2")
    for message, fields in MESSAGES.items():
        made = file.message_type.add(name=message)
        for name, (number, kind, repeated) in fields.items():
            field = made.field.add(name=name, number=number)
            field.label = _KINDS.LABEL_REPEATED if repeated else _KINDS.LABEL_OPTIONAL
            if isinstance(kind, str):
                field.type, field.type_name = _KINDS.TYPE_MESSAGE, f".caffe.{kind}"
            else:
                field.type = kind
                field.options.packed = packed and repeated and kind != _KINDS.TYPE_STRING
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("caffe.NetParameter"))


def caffemodel(layers, version=2, packed=True, double=False):
    """The bytes of a file of weights; `layers` are (name, type, arrays), of a version of Caffe's layers from 0 to 2."""
    net = _network(packed)(name="test")
    for name, kind, arrays in layers:
        outer = net.layer.add() if version == 2 else net.layers.add()
        layer = outer.layer if version == 0 else outer
        layer.name = name
        if version != 1:
            layer.type = kind
        else:
            layer.type = {"Convolution": 4, "InnerProduct": 14, "Deconvolution": 39}.get(kind, 0)
        for array in arrays:
            blob = layer.blobs.add()
            if version == 2:
                blob.shape.dim.extend(array.shape)
            else:
                sizes = (1,) * (4 - array.ndim) + array.shape
                blob.num, blob.channels, blob.height, blob.width = sizes
            numbers = np.ravel(array).tolist()
            (blob.double_data if double else blob.data).extend(numbers)
    return net.SerializeToString()
