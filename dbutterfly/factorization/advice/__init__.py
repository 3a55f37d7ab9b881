"""Advice before the work: which orderings, chain and rank fit a matrix, and whether any do."""
