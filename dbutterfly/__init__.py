"""Certified butterfly factorization of huge matrices."""

__version__ = "0.1.0"
