import numpy as np
import pytest

from dbutterfly.factorization.results.report.colours import STAGES
from dbutterfly.factorization.results.report.residuals import residual_opacity
from dbutterfly.factorization.results.report.timeline import WIDTH, timeline
from dbutterfly.factorization.results.trace import Trace


def trace(*tasks):
    """Of (stage, worker, start, reading, end, computing), in seconds from some moment."""
    rows = [
        [stage, 8.0, reading, computing, 1e9 + end, 0, 0, 1e9 + start, worker, 0]
        for stage, worker, start, reading, end, computing in tasks
    ]
    return Trace(("tiles", "left"), np.array(rows, float).reshape(-1, 10), np.zeros((1, 1)))


def test_lanes_are_those_of_the_workers_in_the_order_of_their_start():
    found = timeline(trace((0, 77, 2, 2, 6, 2), (0, 5, 0, 2, 5, 1), (1, 77, 6, 1, 10, 3)))
    assert [lane.name for lane in found.lanes] == ["worker 1", "worker 2"]
    first, second = found.lanes
    assert [(bar.x, bar.width, bar.stage) for bar in first.reading] == [(0, pytest.approx(200), "tiles")]
    assert [(bar.x, bar.width) for bar in first.computing] == [(pytest.approx(400), pytest.approx(100))]
    assert [bar.stage for bar in second.computing] == ["tiles", "left"]
    assert second.computing[-1].x + second.computing[-1].width == pytest.approx(WIDTH)
    assert found.seconds == 10


def test_many_short_tasks_share_bars():
    tasks = [(0, 1, index / 1000, 0.0004, index / 1000 + 0.001, 0.0005) for index in range(20_000)]
    [lane] = timeline(trace(*tasks)).lanes
    assert sum(bar.tasks for bar in lane.computing) == 20_000
    assert len(lane.computing) <= 2 * WIDTH


def test_a_long_pause_is_cut_out():
    found = timeline(trace((0, 1, 0, 1, 2, 1), (0, 1, 3600, 1, 3602, 1)))
    assert found.seconds == pytest.approx(4)
    assert found.cuts == [pytest.approx(WIDTH / 2)]
    assert [bar.x for bar in found.lanes[0].reading] == pytest.approx([0, 500])


def test_ticks_are_round_and_on_the_axis():
    found = timeline(trace((0, 1, 0, 1, 37, 1)))
    assert [text for _, text in found.ticks] == ["0 s", "5 s", "10 s", "15 s", "20 s", "25 s", "30 s", "35 s"]
    assert all(0 <= place <= WIDTH for place, _ in found.ticks)


def test_no_tasks_have_no_timeline():
    assert timeline(trace()) is None


def test_residuals_have_one_scale_for_all_runs_and_stages_colours_of_their_own():
    opacities = [residual_opacity(10.0**exponent) for exponent in (-9, -4, -3, -2, -1, 0)]
    assert opacities == pytest.approx([0, 0, 0.25, 0.5, 0.75, 1])
    assert residual_opacity(0.0) == 0
    assert residual_opacity(1.5) == 1
    assert len(set(STAGES.values())) == len(STAGES)
