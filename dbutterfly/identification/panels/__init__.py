"""Identification of matrices that are read panel by panel."""
