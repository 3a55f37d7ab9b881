"""Which entries of a matrix belong together: chains, trees, orderings and axes, in integers only."""
