"""Which rows and columns belong together, from the entries alone: the kernels of identification."""
