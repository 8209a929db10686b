"""Designs as YAML: reading and writing them, their JSON Schema, and a draft to begin with."""
