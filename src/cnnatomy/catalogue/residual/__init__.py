"""Networks of residual structure, one file for each family."""
