"""Networks that a search found, one file for each family; `cells.py` is what they are made of."""
