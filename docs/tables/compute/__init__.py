"""The tables of the lectures, recomputed from accounts of cnnatomy: one file a family, each table as data."""
