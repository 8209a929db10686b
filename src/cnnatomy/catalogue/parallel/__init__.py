"""Networks of parallel structure, one file for each family."""
