"""Where data come from: one file for each kind of source, and a row for each in `table.KINDS`."""
