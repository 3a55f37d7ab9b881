"""The groups of all cuts, nested in one tree of the rows and one of the columns."""
