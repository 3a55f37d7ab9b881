"""Pictures of recorded benchmarks: ``python -m benchmarks plots`` draws ``NAME.svg`` beside each ``NAME.json``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from . import harness

INK, SOFT = "#2a6f97", "#9aa7b3"


def scaling(axes: Any, rows: list[dict[str, Any]]) -> None:
    """Time over workers, beside the ideal, for every series that was measured; both axes start at zero."""
    for kind, engine, style in (
        ("strong", "processes", "o-"),
        ("strong", "threads", "s--"),
        ("weak", "processes", "^-"),
        ("cluster", None, "D-"),
    ):
        series = [row for row in rows if row["kind"] == kind and row.get("engine") == engine]
        if not series:
            continue
        workers, seconds = ([row[name] for row in series] for name in ("workers", "seconds"))
        axes.plot(workers, seconds, style, label=f"{kind} scaling{f', {engine}' if engine else ''}")
        counts = [workers[0] + (workers[-1] - workers[0]) * step / 32 for step in range(33)]  # a curve, where strong
        ideal = [seconds[0] if kind == "weak" else seconds[0] * workers[0] / count for count in counts]
        axes.plot(counts, ideal, ":", color=SOFT)
    axes.set(xlabel="workers", ylabel="seconds", title="Scaling (dotted: ideal)")
    axes.set_xticks([0, *sorted({row["workers"] for row in rows})])
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    axes.legend(loc="lower left")


def growth(axes: Any, rows: list[dict[str, Any]]) -> None:
    """Time over entries."""
    sizes = [row for row in rows if "n" in row and "seconds" in row]
    entries, seconds = [row["n"] ** 2 for row in sizes], [row["seconds"] for row in sizes]
    axes.plot(entries, seconds, "o-", color=INK, label="measured")
    axes.plot(
        entries, [seconds[-1] * count / entries[-1] for count in entries], ":", color=SOFT, label="as the entries"
    )
    axes.set(xscale="log", yscale="log", xlabel="entries of the matrix", ylabel="seconds", title="Growth, one worker")
    axes.legend()


def scheduler(axes: Any, rows: list[dict[str, Any]]) -> None:
    """Processor time per tile of scheduler and client, over the number of empty tiles."""
    empty = [row for row in rows if row.get("seconds_of_a_tile") == 0]
    for name, style in (("scheduler", "o-"), ("client", "s-")):
        axes.plot([row["tiles"] for row in empty], [row[f"{name}_ms_per_tile"] for row in empty], style, label=name)
    axes.set(xscale="log", xlabel="empty tiles", ylabel="processor time per tile, ms", title="64 workers")
    axes.set_ylim(bottom=0)
    axes.legend()


DRAWN: dict[str, Callable[[Any, list[dict[str, Any]]], None]] = {
    "scaling": scaling,
    "growth": growth,
    "scheduler": scheduler,
}


def main() -> None:
    """Draw all that has been recorded."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context({"svg.hashsalt": "dbutterfly", "svg.fonttype": "none"}):
        for name, draw in DRAWN.items():
            rows = harness.recorded(name)
            if not rows:
                continue
            figure = Figure(figsize=(5.6, 3.6), layout="constrained")
            draw(figure.add_subplot(), rows)
            path = harness.RESULTS / f"{name}.svg"
            figure.savefig(path, metadata={"Date": None})
            print(f"written: {path}")
