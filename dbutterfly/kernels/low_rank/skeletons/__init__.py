"""Skeletons: columns of matrices by which all others are written."""
