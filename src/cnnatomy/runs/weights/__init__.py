"""Weights that others trained: where they come from, and how they are aligned with a network of ours."""
