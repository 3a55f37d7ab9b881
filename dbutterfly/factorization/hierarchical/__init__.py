"""The hierarchical form: blocks of low rank and butterflies away from the diagonal, dense ones near it."""
