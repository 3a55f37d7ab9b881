"""Book-keeping of tasks, with futures that end when the test says so."""

from __future__ import annotations

import logging
from concurrent.futures import CancelledError, Future
from typing import NamedTuple

import pytest
from distributed import KilledWorker

from dbutterfly.errors import InputError, SourceError, StoreError, TaskError
from dbutterfly.execution import backlog as module
from dbutterfly.execution.backlog import ATTEMPTS, IN_A_ROW, LOSSES, Backlog, Returned, is_hopeless, outcome_of
from dbutterfly.execution.calls import Call, CallBacklog

KILLED = KilledWorker("tiles-2", None, 3)


class Item(NamedTuple):
    label: str


def items(count):
    return [(number, Item(f"tile {number}")) for number in range(count)]


def ended_future(outcome):
    future = Future()
    if isinstance(outcome, BaseException):
        future.set_exception(outcome)
    else:
        future.set_result(outcome)
    return future


class Run:
    """A backlog all of whose tasks have planned outcomes; those beyond the plan end well."""

    def __init__(self, count, outcomes=(), workers=2):
        self.delivered, self.order, self.side_by_side = [], [], []
        self.outcomes = {number: list(planned) for number, planned in dict(outcomes).items()}
        self.workers = workers
        self.backlog = Backlog(items(count), lambda number, value: self.delivered.append((number, value)))

    def submit_all(self):
        while self.backlog.todo:
            number, item = self.backlog.todo.popleft()
            planned = self.outcomes.get(number)
            self.order.append(number)
            self.backlog.add_running(ended_future(planned.pop(0) if planned else f"value {number}"), number, item)
        self.side_by_side.append(len(self.backlog.running))

    def to_the_end(self):
        """Run, and tell of every future in the order in which it ended whether it was lost."""
        not_lost = []
        while self.backlog.has_work():
            self.submit_all()
            not_lost += [
                self.backlog.account_for(future, outcome_of(future), self.workers)
                for future in self.backlog.next_ended(timeout=1)
            ]
        self.backlog.close()
        return not_lost


def test_tasks_are_done_in_order_and_each_is_delivered_once():
    run = Run(4)
    assert run.to_the_end() == [True] * 4
    assert run.order == [0, 1, 2, 3]
    assert run.delivered == [(number, f"value {number}") for number in range(4)]
    assert not run.backlog.has_work()


def test_a_task_that_fails_is_tried_again_after_the_others(caplog):
    run = Run(3, {0: [ValueError("not now")] * (ATTEMPTS - 1)})
    run.to_the_end()
    assert run.order == [0, 1, 2, *[0] * (ATTEMPTS - 1)]
    assert [number for number, _ in run.delivered] == [1, 2, 0]
    assert [message for message in caplog.messages if "it will be tried again" in message] == [
        "tile 0 failed: ValueError: not now; it will be tried again",
        "tile 0 failed 2 times: ValueError: not now; it will be tried again",
    ]


def test_a_task_that_fails_each_time_is_reported_at_the_end(caplog):
    cause = ValueError("never")
    run = Run(3, {1: [cause] * ATTEMPTS})
    with pytest.raises(TaskError) as caught:
        run.to_the_end()
    assert str(caught.value) == (
        f"tile 1 failed {ATTEMPTS} times: ValueError: never (this task failed; the rest of the stage is kept)"
    )
    assert caught.value.__cause__ is cause
    assert [number for number, _ in run.delivered] == [0, 2]
    assert run.order.count(1) == ATTEMPTS
    assert caplog.messages[-1].startswith(f"tile 1 failed {ATTEMPTS} times: ValueError: never")
    assert caplog.messages[-1].endswith("; the other tasks go on")


def test_of_several_failed_tasks_the_first_by_number_is_reported():
    run = Run(4, {3: [ValueError("three")] * ATTEMPTS, 1: [ValueError("one")] * ATTEMPTS})
    with pytest.raises(TaskError, match=r"^tile 1 .*one \(this task, and 1 others, failed; the rest"):
        run.to_the_end()
    assert [number for number, _ in run.delivered] == [0, 2]


def test_an_error_of_ours_keeps_its_class_and_names_the_task():
    run = Run(2, {0: [SourceError("z: unreadable") for _ in range(ATTEMPTS)]})
    with pytest.raises(SourceError, match=rf"^tile 0 failed {ATTEMPTS} times: z: unreadable \(this task failed; "):
        run.to_the_end()
    assert run.delivered == [(1, "value 1")]


@pytest.mark.parametrize("error", [InputError("NaN at (0, 0)"), StoreError("disk full")])
def test_what_no_task_would_escape_is_raised_at_once(error):
    run = Run(3, {0: [error]})
    with pytest.raises(type(error), match=r"^tile 0 failed: (NaN at \(0, 0\)|disk full)$"):
        run.to_the_end()
    assert run.order == [0, 1, 2]


def test_errors_of_the_source_are_not_hopeless():
    assert not is_hopeless(SourceError("z"))
    assert not is_hopeless(ValueError("z"))
    assert is_hopeless(StoreError("z"))


def test_what_is_no_exception_is_passed_on():
    run = Run(1, {0: [KeyboardInterrupt()]})
    with pytest.raises(KeyboardInterrupt):
        run.to_the_end()


@pytest.mark.parametrize("workers", [1, 2])
def test_failures_in_a_row_end_a_stage(workers):
    count = IN_A_ROW * workers + 1
    run = Run(count, {number: [ValueError("no")] * ATTEMPTS for number in range(count)}, workers)
    with pytest.raises(TaskError, match=rf"^tile {count - 1} failed: ValueError: no$"):
        run.to_the_end()
    assert run.delivered == []


def test_one_task_that_ends_well_breaks_a_row_of_failures():
    outcomes = {number: [ValueError("no")] for number in range(2 * IN_A_ROW + 1) if number != IN_A_ROW}
    run = Run(2 * IN_A_ROW + 1, outcomes, workers=1)
    run.to_the_end()
    assert len(run.delivered) == 2 * IN_A_ROW + 1


# ---------------------------------------------------------------- losses


def test_a_lost_task_is_the_next_to_be_submitted_and_counts_as_no_failure():
    run = Run(3, {1: [CancelledError()] * LOSSES})
    told = run.to_the_end()
    assert told.count(False) == LOSSES
    assert run.order == [0, 1, 2, *[1] * LOSSES]
    assert [number for number, _ in run.delivered] == [0, 2, 1]


def test_a_task_that_is_lost_again_and_again_ends_the_stage():
    run = Run(2, {1: [CancelledError()] * (LOSSES + 1)})
    with pytest.raises(TaskError, match=rf"^tile 1 failed: it was lost with a worker {LOSSES} times$"):
        run.to_the_end()


def test_a_future_whose_outcome_cannot_be_told_is_waited_for_again():
    run = Run(1)
    run.backlog.has_work()
    run.submit_all()
    (future,) = run.backlog.next_ended()
    assert run.backlog.account_for(future, None, 2)
    assert run.backlog.running
    assert run.backlog.next_ended() == [future]
    assert run.backlog.account_for(future, outcome_of(future), 2)
    assert run.delivered == [(0, "value 0")]


def test_nothing_has_ended_while_nothing_ends():
    run = Run(2)
    future = Future()
    run.backlog.add_running(future, *run.backlog.todo.popleft())
    assert run.backlog.next_ended(timeout=0) == []
    future.set_result("value")
    assert run.backlog.next_ended(timeout=0) == [future]


class Silent(Future):
    """A future of a worker that does not answer."""

    def exception(self, timeout=None):
        raise TimeoutError(f"no answer within {timeout} s")


def test_an_outcome_is_a_value_an_error_a_loss_or_unknown():
    error, lost = ValueError("no"), Future()
    lost.cancel()
    assert outcome_of(ended_future(None)) == Returned(None)
    assert outcome_of(ended_future(error)) is error
    assert isinstance(outcome_of(lost), CancelledError)
    assert outcome_of(Silent()) is None


def test_an_error_that_is_a_value_is_a_value():
    error = ValueError("found")
    future = Future()
    future.set_result(error)
    assert outcome_of(future) == Returned(error)


# ---------------------------------------------------------------- suspects


def test_of_tasks_that_shared_dying_workers_each_is_tried_by_itself():
    """A scheduler blames all tasks that a worker had when it died, so that one may be as innocent as the next."""
    run = Run(3, {1: [KILLED], 2: [KILLED, KILLED]})
    with pytest.raises(
        TaskError, match=r"^tile 2 failed: 4 workers that computed it died.*\(this task failed; the rest"
    ):
        run.to_the_end()
    assert [number for number, _ in run.delivered] == [0, 1]
    assert run.side_by_side == [3, 1, 1]


def test_a_task_that_alone_was_on_dying_workers_is_not_tried_again():
    run = Run(3, {1: [KILLED]})
    with pytest.raises(TaskError, match=r"^tile 1 failed: 4 workers that computed it died, perhaps for want of memory"):
        run.to_the_end()
    assert run.order == [0, 1, 2]
    assert [number for number, _ in run.delivered] == [0, 2]


def test_suspects_wait_for_all_else():
    run = Run(4, {0: [KILLED], 1: [KILLED], 3: [ValueError("no")]})
    run.to_the_end()
    assert run.order == [0, 1, 2, 3, 3, 0, 1]
    assert run.side_by_side == [4, 1, 1, 1]


# ---------------------------------------------------------------- a stage that is given up


def test_what_has_ended_well_is_delivered_when_a_stage_is_given_up(monkeypatch):
    monkeypatch.setattr(module, "SECONDS_FOR_RESULT", 0.1)
    run = Run(6, {1: [ValueError("no")]})
    run.submit_all()
    lost, under_way, silent = Future(), Future(), Silent()
    lost.cancel()
    silent.set_result("not heard")
    for number, future in enumerate((lost, under_way, silent), 6):
        run.backlog.add_running(future, number, Item(f"tile {number}"))
    run.backlog.deliver_finished()
    assert [number for number, _ in run.delivered] == [0, 2, 3, 4, 5]
    assert not run.backlog.running


# ---------------------------------------------------------------- calls


def calls(count):
    return CallBacklog([Call(f"call {number}", number) for number in range(count)])


def end_all(backlog, most, outcomes):
    """One round: submit what is admitted, and account for all of it; numbers in the order of submission."""
    backlog.admit(most)
    begun = []
    while backlog.todo:
        number, call = backlog.todo.popleft()
        begun.append(number)
        planned = outcomes.get(number)
        backlog.add_running(ended_future(planned.pop(0) if planned else number), number, call)
    for future in backlog.next_ended(timeout=0):
        backlog.account_for(future, outcome_of(future), 2)
    return begun


def test_no_call_begins_far_ahead_of_the_result_that_is_due():
    backlog = calls(5)
    assert end_all(backlog, 2, {}) == [0, 1]
    assert end_all(backlog, 2, {}) == []
    assert backlog.take() == 0
    assert end_all(backlog, 2, {}) == [2]
    assert [backlog.take(), backlog.take()] == [1, 2]
    assert not backlog.is_due_known
    assert end_all(backlog, 3, {}) == [3, 4]
    assert [backlog.take(), backlog.take()] == [3, 4]
    assert not backlog.has_due


def test_a_failed_call_is_raised_when_its_turn_has_come_and_none_begins_after_it():
    backlog, error = calls(5), InputError("NaN")
    assert end_all(backlog, 3, {1: [error], 0: [ValueError("once")]}) == [0, 1, 2]
    assert not backlog.is_due_known
    assert end_all(backlog, 3, {}) == [0]
    assert backlog.take() == 0
    assert end_all(backlog, 3, {}) == []
    with pytest.raises(InputError, match=r"^NaN$") as caught:
        backlog.take()
    assert caught.value is error


def test_a_call_that_fails_each_time_is_a_task_error(caplog):
    caplog.set_level(logging.WARNING)
    backlog, cause = calls(1), ValueError("never")
    outcomes = {0: [cause] * ATTEMPTS}
    for _ in range(ATTEMPTS):
        assert end_all(backlog, 2, outcomes) == [0]
    with pytest.raises(TaskError, match=f"^call 0 failed {ATTEMPTS} times: ValueError: never$") as caught:
        backlog.take()
    assert caught.value.__cause__ is cause
    assert len(caplog.messages) == ATTEMPTS - 1


def test_calls_that_shared_dying_workers_are_tried_alone():
    backlog = calls(4)
    outcomes = {0: [KILLED], 1: [KILLED]}
    assert end_all(backlog, 2, outcomes) == [0, 1]
    assert end_all(backlog, 2, outcomes) == [0]
    assert backlog.take() == 0
    assert end_all(backlog, 2, outcomes) == [1]
    assert backlog.take() == 1
    assert end_all(backlog, 2, outcomes) == [2, 3]
    assert [backlog.take(), backlog.take()] == [2, 3]


def test_a_call_that_alone_was_on_dying_workers_is_given_up():
    backlog = calls(2)
    assert end_all(backlog, 2, {0: [KILLED]}) == [0, 1]
    assert end_all(backlog, 2, {}) == []
    with pytest.raises(TaskError, match=r"^call 0 failed: 4 workers .* died, .*; nothing of it is kept: make the"):
        backlog.take()
