"""Chains by their names, which become chains when the shape of the matrix is known."""

from __future__ import annotations

import re
from typing import Any

from ..errors import ChainError
from .arguments import show_value
from .chain import Chain, read_chain

__all__ = ["chain_for", "is_chain_name", "read_chain_or_name"]

NAMES = re.compile(r"chainable|dyadic|monarch|monarch:(?P<p>\d{1,18}),(?P<q>\d{1,18})")
"""The default chain, that of fast Fourier transforms, and that of two factors, with its divisors or without."""


def is_chain_name(text: str) -> bool:
    """Whether a text is the name of a chain."""
    return NAMES.fullmatch(text) is not None


def read_chain_or_name(name: str, value: Any) -> Chain | str | None:
    """Read a chain, or the name of one; the default chain is None.

    Raises
    ------
    ChainError
        If it is neither.
    """
    if not isinstance(value, str):
        return read_chain(name, value)
    if not is_chain_name(value):
        raise ChainError(
            f"{name}={show_value(value)} is unknown; use 'chainable' (the default), 'dyadic', 'monarch', "
            "'monarch:p,q', a Chain, or a list of patterns (a, b, c, d)"
        )
    return None if value == "chainable" else value


def chain_for(chain: Chain | str | None, shape: tuple[int, int], rank: int = 1) -> Chain:
    """Chain for a matrix, by what :func:`read_chain_or_name` has read.

    Parameters
    ----------
    chain : Chain, str or None
        A chain, whatever the shape; a name; or None for the default chain.
    shape : (int, int)
        Shape of the matrix.
    rank : int
        Rank of the default chain, which is balanced: with unbalanced ones, blocks grow with the rank, and of an
        oscillatory kernel the error with it (non-uniform Fourier transform, N = 256, ranks 4, 6, 8 and 12: .090, .124,
        .012 and .033).

    Raises
    ------
    ChainError
        If a chain of this name does not exist for the shape.
    """
    if isinstance(chain, Chain):
        return chain
    if chain is None or chain == "chainable":
        return Chain.chainable(shape, rank, balanced=rank > 1)
    if chain == "dyadic":
        return Chain.square_dyadic(shape)
    divisors = NAMES.fullmatch(chain)
    assert divisors is not None
    p, q = divisors["p"], divisors["q"]
    return Chain.monarch(shape) if p is None else Chain.monarch(shape, int(p), int(q))
