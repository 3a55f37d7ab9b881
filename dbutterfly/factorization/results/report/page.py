"""The page itself: what it shows of a factorization, put into its template."""

from __future__ import annotations

import datetime
import functools
import math
import os
import textwrap
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from ....errors import InputError
from ....execution.task import Record
from ....planning.sizes import format_bytes
from ....storage.destinations import Place
from ....storage.files import FileKind, check_file, write_whole
from ....structure.chain import Chain
from ....structure.drawings import ACCENT, ALARM, Element, to_html
from ....structure.orderings import Orderings
from ....structure.pictures import draw_chain
from ....structure.tree import Tree
from ..certificate import Certificate
from ..pictures import draw_bounds
from ..trace import Trace, root_groups
from ..verdict import verdict_on
from .colours import STAGES
from .comparison import compare, format_seconds
from .cut_bars import cut_bars
from .residuals import draw_residuals, draw_scale
from .timeline import timeline

if TYPE_CHECKING:
    import jinja2

__all__ = [
    "check_report",
    "facts_of",
    "facts_of_certificate",
    "facts_of_run",
    "page",
    "render",
    "time_card",
    "write_page",
]

ENGINES = {"ThreadEngine": "threads of one process", "DaskEngine": "the workers of a Dask cluster"}

REPORT = FileKind("a report", lambda head: b"<title>dbutterfly: " in head, is_precious=False)

WIDTH_OF_BOUNDS = 440.0
"""Pixels of the axis of the bounds, on a page that is wide enough: numbers stay legible on a narrow one."""

LATEST = 253_402_300_799
"""Last second of the year 9999, which dates end with."""

LONGEST_NAME = 160
"""Letters of the name of a matrix: a known one may tell its whole chain."""


class Result(Protocol):
    """What a page needs of any result."""

    @property
    def shape(self) -> tuple[int, int]: ...
    @property
    def dtype(self) -> np.dtype[Any]: ...
    @property
    def certificate(self) -> Certificate: ...
    @property
    def record(self) -> dict[str, Any]: ...
    @property
    def nbytes(self) -> int: ...
    @property
    def compression(self) -> float: ...


class Subject(Result, Protocol):
    """What a page needs of a butterfly factorization."""

    @property
    def chain(self) -> Chain: ...
    @property
    def tree(self) -> Tree: ...
    @property
    def orderings(self) -> Orderings: ...
    @property
    def trace(self) -> Trace | None: ...


def page(subject: Subject) -> str:
    """HTML page of a factorization, complete in itself."""
    trace = subject.trace
    facts = facts_of(subject, f"in {len(subject.chain)} factors", trace) | {
        "form": "Butterfly factorization",
        "chain": _html(draw_chain(subject.chain)),
        "orderings": subject.orderings.describe(),
        "levels": cut_bars(subject),
        "map": None if trace is None else _map(trace, subject),
    }
    return render(facts)


def facts_of(subject: Result, parts: str, trace: Trace | None) -> dict[str, Any]:
    """What a page says of any result; what only some have is empty.

    Parameters
    ----------
    subject : Result
        The result.
    parts : str
        Of what it consists.
    trace : Trace or None
        When its tasks ran.
    """
    rows, cols = subject.shape
    return facts_of_run(subject.record, trace) | {
        "title": f"{rows} x {cols} {subject.dtype.name}",
        "cards": _cards(subject, parts),
        **facts_of_certificate(subject.certificate),
    }


def facts_of_certificate(certificate: Certificate) -> dict[str, Any]:
    """What a page says of a certificate: a verdict, its bounds in words, and as a drawing."""
    verdict = verdict_on(certificate)
    return {
        "verdict": verdict.text,
        "is_useless": verdict.is_useless,
        "certificate": str(certificate),
        "bounds": _html(draw_bounds(certificate, WIDTH_OF_BOUNDS)),
    }


def facts_of_run(record: dict[str, Any], trace: Trace | None) -> dict[str, Any]:
    """What a page says of a run, by its record and trace; what only some results have is empty."""
    return {
        "matrix": textwrap.shorten(record.get("matrix", ""), LONGEST_NAME, placeholder=" ..."),
        "version": record.get("version", ""),
        "compared": compare(record),
        "plan": record.get("plan_text", ""),
        "stages": [_stage(name, done, record) for name, done in record.get("stages", {}).items()],
        "engine": _engine(record),
        "timeline": None if trace is None else timeline(trace),
        "provenance": _provenance(record, trace),
        **dict.fromkeys(("certificate", "bounds", "chain", "orderings", "levels", "map", "blocks", "kinds", "stack")),
    }


def render(facts: dict[str, Any]) -> str:
    """Put facts into the template."""
    return _template().render(facts)


def _html(drawing: Element | None) -> str:
    """Text of a drawing, empty where there is none."""
    return "" if drawing is None else to_html(drawing)


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
    import jinja2

    loader = jinja2.PackageLoader("dbutterfly.factorization.results.report", ".")
    return jinja2.Environment(
        loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    ).get_template("page.html")


def _cards(subject: Result, parts: str) -> list[tuple[str, str]]:
    """Numbers that a reader looks for first: what they are called, and what they are."""
    certificate = subject.certificate
    error, is_product = "weighted error" if certificate.weighted else "error", certificate.form == "butterfly"
    if certificate.deviation is not None:
        first = [(f"{error}, estimated", f"{certificate.error_bound:.3g} ± {certificate.deviation:.1g}")]
    else:
        first = [
            (error if certificate.exact else f"{error} at most", f"{certificate.error_bound:.4g}"),
            (f"{'no product is' if is_product else 'no such blocks are'} below", f"{certificate.lower_bound:.4g}"),
            ("ratio", f"{certificate.ratio:.4f}" if math.isfinite(certificate.ratio) else "–"),
        ]
    return [
        *first,
        ("times smaller", f"{subject.compression:.1f}"),
        (parts, format_bytes(subject.nbytes)),
        *time_card(subject.record),
    ]


def time_card(record: dict[str, Any]) -> list[tuple[str, str]]:
    """Time of all stages, of a run that has left a record."""
    seconds = sum(stage["seconds"] for stage in record.get("stages", {}).values())
    return [("time of all stages", format_seconds(seconds))] if seconds else []


def _engine(record: dict[str, Any]) -> str:
    """Where the run was, if there was one."""
    place = ENGINES.get(record.get("engine", ""))
    return f"On {place}, {record.get('workers')} tasks at a time." if place is not None else ""


def _stage(name: str, done: dict[str, Any], record: dict[str, Any]) -> dict[str, str]:
    """A row of the table of stages."""
    rate = done["bytes_read"] / done["seconds"] / 1e9 if done["seconds"] and not done["resumed"] else 0.0
    predicted = record.get("predicted", {}).get("stage_seconds", {}).get(name)
    return {
        "name": name,
        "colour": STAGES.get(name, "#888"),
        "tasks": f"{done['tasks']}" + (f" + {done['resumed']} resumed" if done["resumed"] else ""),
        "seconds": format_seconds(done["seconds"]),
        "predicted": "–" if predicted is None else format_seconds(predicted),
        "read": format_bytes(done["bytes_read"]) if done["bytes_read"] else "–",
        "rate": f"{rate:.2f} GB/s" if rate else "–",
        "reading": format_seconds(done["load_seconds"]),
        "computing": format_seconds(done["compute_seconds"]),
        "peak": format_bytes(done["peak_beyond_idle"]),
    }


def _map(trace: Trace, subject: Subject) -> dict[str, str]:
    """The map of the residuals, its scale, and the range of its values."""
    low, high = float(trace.residuals.min()), float(trace.residuals.max())
    groups = root_groups(subject.chain, subject.tree)
    colour = ALARM if verdict_on(subject.certificate).is_useless else ACCENT
    return {
        "drawing": to_html(draw_residuals(trace.residuals, groups, colour)),
        "scale": to_html(draw_scale(colour)),
        "range": f"{low:.3g}" if low == high else f"{low:.3g} to {high:.3g}",
    }


def _provenance(record: dict[str, Any], trace: Trace | None) -> list[tuple[str, str]]:
    """Where the result comes from, as far as that was kept: matrix, call, time, and versions."""
    lines = []
    known = dict(record.get("provenance", {}))
    if record.get("matrix"):
        lines.append(("matrix Z", record["matrix"]))
    if "call" in known:
        lines.append(("call", known.pop("call")))
    if trace is not None and len(trace.tasks):
        started = trace.tasks[:, 1 + Record._fields.index("started")].min()
        when = datetime.datetime.fromtimestamp(min(max(float(started), 0.0), LATEST), datetime.UTC)
        lines.append(("first task", f"{when:%Y-%m-%d %H:%M:%S} UTC"))
    versions = {"dbutterfly": record.get("version", ""), **known}
    text = ", ".join(f"{name} {version}" for name, version in versions.items() if version)
    return [*lines, ("versions", text)] if text else lines
