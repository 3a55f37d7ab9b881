"""The page itself: what it shows of a factorization, put into its template."""

from __future__ import annotations

import functools
import math
import os
import textwrap
from collections.abc import Iterable
from typing import Any, NamedTuple, Protocol

import jinja2
import numpy as np
from numpy.typing import NDArray

from ....errors import InputError
from ....planning.sizes import format_bytes
from ....storage.destinations import Place
from ....storage.files import FileKind, check_file, write_whole
from ....structure.chain import Chain
from ....structure.orderings import Orderings
from ....structure.tree import Tree, tree_leaves
from ..certificate import Certificate
from ..trace import Trace
from .colours import STAGES, on_scale
from .timeline import timeline

__all__ = ["check_report", "page", "write_page"]

ENGINES = {"ThreadEngine": "threads of one process", "DaskEngine": "the workers of a Dask cluster"}

REPORT = FileKind("a report", lambda head: b"<title>dbutterfly: " in head, is_precious=False)

LONGEST_NAME = 160
"""Letters of the name of a matrix: a known one may tell its whole chain."""


class Subject(Protocol):
    """What a page needs of a factorization."""

    @property
    def shape(self) -> tuple[int, int]: ...
    @property
    def dtype(self) -> np.dtype[Any]: ...
    @property
    def chain(self) -> Chain: ...
    @property
    def tree(self) -> Tree: ...
    @property
    def orderings(self) -> Orderings: ...
    @property
    def certificate(self) -> Certificate: ...
    @property
    def record(self) -> dict[str, Any]: ...
    @property
    def trace(self) -> Trace | None: ...
    @property
    def nbytes(self) -> int: ...
    @property
    def compression(self) -> float: ...


class Bar(NamedTuple):
    """A part of the error, with the length of its bar in percent."""

    name: str
    what: str
    error: str
    width: float
    is_root: bool = False


class Map(NamedTuple):
    """A map of residuals: colour and value of every cell, and the ends of its scale."""

    rows: list[list[tuple[str, str]]]
    low: str
    high: str
    scale: list[str]


def page(subject: Subject) -> str:
    """HTML page of a factorization, complete in itself."""
    record, trace = subject.record, subject.trace
    rows, cols = subject.shape
    facts = {
        "title": f"{rows} x {cols} {subject.dtype.name}",
        "matrix": textwrap.shorten(record.get("matrix", ""), LONGEST_NAME, placeholder=" ..."),
        "version": record.get("version", ""),
        "cards": _cards(subject),
        "certificate": str(subject.certificate),
        "bounds": _bounds(subject.certificate),
        "plan": record.get("plan_text", ""),
        "chain": [tuple(pattern) for pattern in subject.chain],
        "orderings": subject.orderings.describe(),
        "stages": [_stage(name, done) for name, done in record.get("stages", {}).items()],
        "engine": _engine(record),
        "levels": _levels(subject),
        "timeline": None if trace is None else timeline(trace),
        "map": None if trace is None else _map(trace.residuals),
    }
    return _template().render(facts)


def check_report(path: str | os.PathLike[str], sources: Iterable[Place] = (), *, made_later: str | None = None) -> str:
    """Refuse a place where no report can be, as where something else is; nothing is written.

    Parameters
    ----------
    path : str or path
        Where it will be.
    sources : iterable of Place
        What is read.
    made_later : str, optional
        Absolute path of a directory that will be there when it is written.

    Returns
    -------
    str
        Absolute path.

    Raises
    ------
    InputError
        If it cannot be there.
    """
    return check_file(path, REPORT, argument="report", sources=sources, made_later=made_later)


def write_page(path: str | os.PathLike[str], text: str) -> None:
    """Write a page whole or not at all.

    Raises
    ------
    InputError
        If it cannot be written.
    """
    place = check_report(path)
    try:
        write_whole(place, lambda file: file.write(text.encode()))
    except OSError as error:
        raise InputError(
            f"report {os.fspath(path)!r} cannot be written: {error}; name a file in a directory"
        ) from error


@functools.cache
def _template() -> jinja2.Template:
    loader = jinja2.PackageLoader("dbutterfly.factorization.results.report", ".")
    return jinja2.Environment(
        loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    ).get_template("page.html")


def _cards(subject: Subject) -> list[tuple[str, str]]:
    """Numbers that a reader looks for first: what they are called, and what they are."""
    certificate = subject.certificate
    if certificate.deviation is not None:
        first = [("error, estimated", f"{certificate.error_bound:.3g} ± {certificate.deviation:.1g}")]
    else:
        first = [
            ("error" if certificate.exact else "error at most", f"{certificate.error_bound:.4g}"),
            ("no product is below", f"{certificate.lower_bound:.4g}"),
            ("ratio", f"{certificate.ratio:.4f}" if math.isfinite(certificate.ratio) else "–"),
        ]
    seconds = sum(stage["seconds"] for stage in subject.record.get("stages", {}).values())
    return [
        *first,
        ("times smaller", f"{subject.compression:.1f}"),
        (f"in {len(subject.chain)} factors", format_bytes(subject.nbytes)),
        *([("time of all stages", _seconds(seconds))] if seconds else []),
    ]


def _bounds(certificate: Certificate) -> dict[str, float] | None:
    """Where the two bounds lie on a line from zero, in percent."""
    if certificate.deviation is not None or not 0 < certificate.error_bound < math.inf:
        return None
    most = 1.1 * certificate.error_bound
    low, high = 100 * certificate.lower_bound / most, 100 * certificate.error_bound / most
    return {"low": low, "high": high, "below": max(low / 2, 10), "between": min(max((low + high) / 2, 30), 88)}


def _engine(record: dict[str, Any]) -> str:
    """Where the run was, if there was one."""
    place = ENGINES.get(record.get("engine", ""))
    return f"On {place}, {record.get('workers')} tasks at a time." if place is not None else ""


def _stage(name: str, done: dict[str, Any]) -> dict[str, str]:
    """A row of the table of stages."""
    rate = done["bytes_read"] / done["seconds"] / 1e9 if done["seconds"] and not done["resumed"] else 0.0
    return {
        "name": name,
        "colour": STAGES.get(name, "#666"),
        "tasks": f"{done['tasks']}" + (f" + {done['resumed']} resumed" if done["resumed"] else ""),
        "seconds": _seconds(done["seconds"]),
        "read": format_bytes(done["bytes_read"]) if done["bytes_read"] else "–",
        "rate": f"{rate:.2f} GB/s" if rate else "–",
        "reading": _seconds(done["load_seconds"]),
        "computing": _seconds(done["compute_seconds"]),
        "peak": format_bytes(done["peak_beyond_idle"]),
    }


def _levels(subject: Subject) -> dict[str, Any] | None:
    """The error by cuts of the chain; None for a run that has left none."""
    if not subject.record.get("errors_by_cut"):
        return None
    return {"note": _note(subject), "bars": _cuts(subject)}


def _cuts(subject: Subject) -> list[Bar]:
    """The cuts in the order of the factors."""
    errors, tree = subject.record["errors_by_cut"], subject.tree
    root = 0 if isinstance(tree, int) else len(tree_leaves(tree[0]))
    most, bars = max(errors) or 1.0, []
    for position, error in enumerate(errors, 1):
        p, u, q, v, rank = subject.chain.cut(position)[0]
        what = f"{u} x {q} blocks of {p} x {v}, rank {rank}"
        bars.append(
            Bar(f"factors {position}, {position + 1}", what, f"{error:.3g}", 100 * error / most, position == root)
        )
    return bars


def _note(subject: Subject) -> str:
    """What the errors of the cuts are."""
    certificate = subject.certificate
    sum_ = "add up to that of the error"
    if not certificate.exact:
        sum_ += ", but for a term of the root cut that the certificate bounds"
    if not certificate.proven:
        sum_ = "add up to about that of the error; what the root cut loses is estimated"
    before = " Before the sweeps over the factors." if "sweeps" in subject.record else ""
    return f"What is lost between neighbouring factors, relative to the norm of the matrix: the squares {sum_}.{before}"


def _map(residuals: NDArray[np.float64]) -> Map:
    """Colours of a map, spread over the range of its values."""
    low, high = float(residuals.min()), float(residuals.max())
    shares = (residuals - low) / (high - low) if high > low else np.zeros_like(residuals)
    rows = [
        [(on_scale(share), f"{value:.3g}") for share, value in zip(*pair, strict=True)]
        for pair in zip(shares.tolist(), residuals.tolist(), strict=True)
    ]
    return Map(rows, f"{low:.3g}", f"{high:.3g}", [on_scale(index / 31) for index in range(32)])


def _seconds(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.2f} s" if seconds < 10 else f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"
