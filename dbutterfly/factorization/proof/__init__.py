"""A lower bound from all cuts of a chain together, which proves how near to the best a factorization is."""
