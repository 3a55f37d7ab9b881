"""What a plan had predicted of a run, beside what was measured: time, bytes and memory."""

from __future__ import annotations

from typing import Any, NamedTuple

from ....planning.sizes import format_bytes

__all__ = ["Compared", "compare", "format_seconds"]


class Compared(NamedTuple):
    """A quantity, as it was predicted and as it was measured."""

    name: str
    predicted: str
    measured: str


def compare(record: dict[str, Any]) -> list[Compared]:
    """Compare what a record has of both; nothing of what was saved without a run."""
    stages, plan = record.get("stages", {}), record.get("plan", {})
    if not stages:
        return []
    rows = [
        _compare_time(record),
        Compared("bytes read", *_bytes(plan.get("bytes_read"), _total(stages, "bytes_read"))),
    ]
    peak = max(stage["peak_beyond_idle"] for stage in stages.values())
    rows.append(Compared("memory of a worker at its peak", *_bytes(plan.get("peak_bytes"), peak)))
    return [row for row in rows if row.measured]


def _compare_time(record: dict[str, Any]) -> Compared:
    """Time of all stages; of a run that was resumed, that of its last sitting."""
    stages, predicted = record["stages"], record.get("predicted")
    resumed = any(stage["resumed"] for stage in stages.values())
    text = "–"
    if predicted is not None:
        bandwidth = predicted["read_bandwidth"] / 1e9
        text = f"{format_seconds(sum(predicted['stage_seconds'].values()))} if {bandwidth:g} GB/s are read"
    measured = format_seconds(_total(stages, "seconds"))
    return Compared("time of all stages", text, f"{measured} in the last sitting" if resumed else measured)


def _total(stages: dict[str, Any], name: str) -> float:
    return float(sum(stage[name] for stage in stages.values()))


def _bytes(predicted: int | None, measured: float) -> tuple[str, str]:
    """Both as text; nothing where nothing was measured."""
    return "–" if predicted is None else format_bytes(predicted), format_bytes(measured) if measured > 0 else ""


def format_seconds(seconds: float) -> str:
    """Write a time."""
    if seconds < 120:
        return f"{seconds:.2f} s" if seconds < 10 else f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"
