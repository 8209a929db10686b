"""Networks of chain structure, one file for each family."""
