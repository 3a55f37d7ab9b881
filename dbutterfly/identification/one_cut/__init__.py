"""The row and column groups of one cut."""
