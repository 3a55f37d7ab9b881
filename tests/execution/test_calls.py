"""Calls of functions of one matrix, on threads and on a Dask cluster."""

from __future__ import annotations

import os
import signal
import time

import numpy as np
import pytest
from threadpoolctl import threadpool_info

from dbutterfly.errors import InputError, NonFiniteError, SourceError, TaskError
from dbutterfly.execution.backlog import ATTEMPTS
from dbutterfly.execution.choose import choose_engine
from tests.support.patience import PATIENCE, wait_until

MATRIX = np.arange(600.0).reshape(20, 30)


@pytest.fixture
def chosen(engine):
    """The engine itself, of the arguments that make one."""
    return choose_engine(engine.get("client"), engine.get("workers"))


def called(log):
    """Arguments for which a function was called, as often as it was."""
    return [int(line) for line in log.read_text().splitlines()] if log.exists() else []


def say(log, number):
    with open(log, "a") as file:
        file.write(f"{number}\n")


def row_sum(matrix, number, *shared):
    time.sleep(0.02 * (number % 3 == 0))  # the first of three that are due ends last
    return number, float(matrix[number].sum()), *(float(array[number]) for array in shared)


def test_results_come_in_order_and_are_those_of_plain_calls(chosen):
    shared = np.linspace(0, 1, 20), np.asfortranarray(MATRIX)[:, 3]
    expected = [row_sum(MATRIX, number, *shared) for number in range(20)]
    with chosen.calls(MATRIX, "sums") as calls:
        assert list(calls.in_order(row_sum, range(20), *shared)) == expected
        assert list(calls.in_order(row_sum, range(3))) == [row_sum(MATRIX, number) for number in range(3)]
        assert list(calls.in_order(row_sum, [])) == []


def test_engines_tell_whether_they_compute_in_this_process(chosen, engine):
    assert chosen.in_this_process == ("client" not in engine)


class Told:
    """A call that leaves a line in a log, and fails for one argument, the first few times."""

    def __init__(self, log, error=None, at=2, times=1000):
        self.log, self.error, self.at, self.times = log, error, at, times
        self.__name__ = "_told"

    def __call__(self, matrix, number):
        say(self.log, number)
        if self.error is not None and number == self.at and called(self.log).count(number) <= self.times:
            raise self.error
        return float(matrix[number, 0])


def test_a_call_that_fails_is_made_again(chosen, tmp_path, caplog):
    log = tmp_path / "log"
    with chosen.calls(MATRIX, "firsts") as calls:
        found = list(calls.in_order(Told(log, OSError("busy"), times=ATTEMPTS - 1), range(6)))
    assert found == MATRIX[:6, 0].tolist()
    assert sorted(called(log)) == sorted([*range(6), *[2] * (ATTEMPTS - 1)])
    assert "firsts (told 3) failed: OSError: busy; it will be tried again" in caplog.messages


def test_a_call_that_fails_each_time_is_named_with_its_cause(chosen, tmp_path):
    log = tmp_path / "log"
    found = []
    with (
        chosen.calls(MATRIX, "firsts") as calls,
        pytest.raises(
            TaskError, match=rf"^firsts \(told 3\) failed {ATTEMPTS} times: ZeroDivisionError: none$"
        ) as caught,
    ):
        found.extend(calls.in_order(Told(log, ZeroDivisionError("none")), range(6)))
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    assert called(log).count(2) == ATTEMPTS
    assert 5 not in called(log)


@pytest.mark.parametrize("error", [NonFiniteError("z: NaN", (0, 0)), InputError("no such thing")])
def test_an_error_that_no_call_would_escape_is_raised_as_it_is_and_at_once(error, chosen, tmp_path):
    log = tmp_path / "log"
    found = []
    with chosen.calls(MATRIX, "firsts") as calls, pytest.raises(type(error), match=f"^{error}$"):
        found.extend(calls.in_order(Told(log, error), range(6)))
    assert found == MATRIX[:2, 0].tolist()  # those before it have been handed on
    assert called(log).count(2) == 1


def test_an_error_of_ours_that_may_pass_keeps_its_text(chosen, tmp_path):
    log = tmp_path / "log"
    with chosen.calls(MATRIX, "firsts") as calls:
        with pytest.raises(SourceError, match=r"^z cannot be read$"):
            list(calls.in_order(Told(log, SourceError("z cannot be read")), range(6)))
        assert called(log).count(2) == ATTEMPTS
        assert list(calls.in_order(row_sum, range(2))) == [row_sum(MATRIX, number) for number in range(2)]


class ForeignError(Exception):
    """An exception that only the process in which it was raised can make again, such as Zarr's own."""

    def __init__(self, first, second):
        super().__init__(first)
        self.second = second


def fail_for_a_foreign_reason(matrix, number):
    raise SourceError("z cannot be read") from ForeignError("no", "chunk")


def test_an_error_arrives_whatever_its_cause(chosen):
    with chosen.calls(MATRIX, "reads") as calls, pytest.raises(SourceError, match=r"^z cannot be read$"):
        list(calls.in_order(fail_for_a_foreign_reason, range(2)))


def test_closing_cancels_the_rest(chosen, tmp_path):
    log = tmp_path / "log"
    with chosen.calls(MATRIX, "firsts") as calls:
        results = calls.in_order(Told(log), range(20))
        assert next(results) == 0.0
        results.close()
    assert len(called(log)) <= 1 + chosen.workers


def blas_threads(matrix, number):
    matrix @ matrix.T
    return [info["num_threads"] for info in threadpool_info() if info["user_api"] == "blas"]


def test_blas_is_held_to_one_thread(chosen):
    with chosen.calls(MATRIX, "threads") as calls:
        counts = list(calls.in_order(blas_threads, range(2)))
    assert counts
    assert all(set(count) == {1} for count in counts)


def interrupt(matrix, number, pid, log):
    if number == 1:
        os.kill(int(pid[0]), signal.SIGINT)
    time.sleep(0.05)
    return number


def test_ctrl_c_ends_the_calls_and_leaves_the_client_usable(client):
    engine, pid = choose_engine(client), np.array([os.getpid()])
    with engine.calls(MATRIX, "calls") as calls:
        with pytest.raises(KeyboardInterrupt):
            list(calls.in_order(interrupt, range(50), pid, pid))
        assert list(calls.in_order(row_sum, range(2))) == [row_sum(MATRIX, number) for number in range(2)]
    assert client.submit(int, "7").result(timeout=PATIENCE) == 7


def test_nothing_of_calls_stays_on_the_cluster(client):
    before = client.run_on_scheduler(held_keys)  # what errors of earlier tests still refer to
    with choose_engine(client).calls(MATRIX, "sums") as calls:
        list(calls.in_order(row_sum, range(4), np.ones(20)))
    wait_until(lambda: client.run_on_scheduler(held_keys) <= before, what="the scheduler holds nothing of them")


def held_keys(dask_scheduler):
    return {str(key) for key in dask_scheduler.tasks}
