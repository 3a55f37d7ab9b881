"""Places where data lies, and what a run keeps there. This room knows no matrix."""
