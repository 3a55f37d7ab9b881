"""Factors times vectors: one factor, a chain, and a chain made ready for many products."""
