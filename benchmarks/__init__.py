"""Benchmarks: every performance claim of dbutterfly, as ratios taken in one run (see README.md here)."""
