"""The main job for a stack of matrices: one plan, tasks across matrices, and a certificate for each."""
