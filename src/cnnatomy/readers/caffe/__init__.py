"""Caffe's prototxt as graphs."""
