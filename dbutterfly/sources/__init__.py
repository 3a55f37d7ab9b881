"""Matrices to read: arrays, Zarr and Dask arrays, entry functions and operators, behind one interface."""
