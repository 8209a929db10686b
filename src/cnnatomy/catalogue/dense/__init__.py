"""Networks of dense structure, one file for each family."""
