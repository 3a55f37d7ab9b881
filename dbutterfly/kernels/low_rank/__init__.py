"""Best low-rank approximation of the blocks of a matrix, for single blocks, stacks and grids."""
