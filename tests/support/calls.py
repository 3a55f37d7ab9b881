"""Calls that are made at once, in place of those of an engine."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

__all__ = ["CallsHere"]


class CallsHere:
    """Calls that are made at once, without a matrix."""

    def in_order(self, function: Callable[..., Any], given: Iterable[Any]) -> Iterator[Any]:
        """Results of the calls."""
        return (function(None, each) for each in given)
