"""From matrices to Kronecker-sparse factors: recursion, sweeps, and the rank and norm of products."""
