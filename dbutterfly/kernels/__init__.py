"""Kernels: arrays in, arrays out; no input or output, no Dask, no configuration."""
