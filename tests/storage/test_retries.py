"""Errors of storage that may pass, and trying again."""

from __future__ import annotations

import errno
import logging
import ssl
from http.client import IncompleteRead
from types import SimpleNamespace
from typing import Any

import pytest
import zarr

from dbutterfly.errors import InputError, StoreError
from dbutterfly.storage.retries import as_store_error, may_pass, reason, retry, storage_timeout
from tests.support.parts import require

obstore_exceptions = require("obstore", "test-s3").exceptions

SLOW_DOWN = """Generic S3 error: Error performing GET http://h/b/k in 3ms, after 10 retries - Server returned non-2xx \
status code: 503 Service Unavailable: <?xml version="1.0" encoding="UTF-8"?>
<Error><Code>SlowDown</Code><Message>Please
try again.</Message><AWSAccessKeyId>AKIA</AWSAccessKeyId></Error>

Debug source:
Generic { store: "S3" }"""


def botocore_error(name: str, status: int | None = None, base: type[Exception] = Exception) -> Exception:
    """An error that looks as one of botocore, which need not be there."""
    error = type(name, (base,), {"__module__": "botocore.exceptions"})("told by the server")
    if status is not None:
        error.response = {"ResponseMetadata": {"HTTPStatusCode": status}}  # type: ignore[attr-defined]
    return error


PASSING = [
    ConnectionResetError("reset"),
    TimeoutError("no answer"),
    OSError(errno.EIO, "input/output error"),
    IncompleteRead(b"", 7),
    obstore_exceptions.GenericError(SLOW_DOWN),
    obstore_exceptions.GenericError("Generic S3 error: HTTP error: error sending request"),
    RuntimeError("Generic S3 error: HTTP error: error sending request"),
    botocore_error("ClientError", 503),
    botocore_error("ClientError", 429),
    botocore_error("EndpointConnectionError", base=type(botocore_error("ConnectionError"))),
]
LASTING = [
    FileNotFoundError("gone"),
    PermissionError("no"),
    IsADirectoryError("x"),
    OSError(errno.ENOSPC, "disk full"),
    OSError(errno.EROFS, "read-only"),
    ssl.SSLCertVerificationError("self-signed"),
    ValueError("x"),
    MemoryError(),
    RuntimeError("x"),
    zarr.errors.GroupNotFoundError("x"),
    obstore_exceptions.PermissionDeniedError("x"),
    obstore_exceptions.AlreadyExistsError("x"),
    obstore_exceptions.GenericError("Generic S3 error: - Server returned non-2xx status code: 404 Not Found: x"),
    obstore_exceptions.GenericError("Generic HTTP error: HTTP error: builder error"),
    obstore_exceptions.GenericError("Error performing PUT http://169.254.169.254/latest/api/token in 2s"),
    botocore_error("ClientError", 403),
    botocore_error("NoCredentialsError"),
]


@pytest.mark.parametrize("error", PASSING, ids=repr)
def test_errors_that_may_pass(error: Exception) -> None:
    assert may_pass(error)


@pytest.mark.parametrize("error", LASTING, ids=repr)
def test_errors_that_last(error: Exception) -> None:
    assert not may_pass(error)


class Call:
    """Raises the errors given, one per call, then returns."""

    def __init__(self, *errors: BaseException) -> None:
        self.errors = list(errors)
        self.count = 0

    def __call__(self) -> str:
        self.count += 1
        if self.errors:
            raise self.errors.pop(0)
        return "done"


def test_a_call_is_made_again_until_it_succeeds(caplog: pytest.LogCaptureFixture) -> None:
    call = Call(ConnectionResetError("by peer"), TimeoutError("no answer"))
    with caplog.at_level(logging.WARNING, logger="dbutterfly"):
        assert retry(call, describe="reading rows 0..7 of s3://b/z", first_wait=0.001) == "done"
    assert call.count == 3
    assert [record.name for record in caplog.records] == ["dbutterfly"] * 2
    assert "reading rows 0..7 of s3://b/z failed (ConnectionResetError: by peer)" in caplog.messages[0]
    assert "attempt 2 of 8" in caplog.messages[0]


def test_waits_grow_up_to_two_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr("dbutterfly.storage.retries.time.sleep", waits.append)
    retry(Call(*[TimeoutError()] * 7), describe="reading", first_wait=0.2)
    assert all(0.5 <= wait / min(0.2 * 2**index, 2) <= 1.5 for index, wait in enumerate(waits))
    assert len(waits) == 7


def test_the_last_error_is_raised() -> None:
    call = Call(TimeoutError("first"), TimeoutError("second"), TimeoutError("third"))
    with pytest.raises(TimeoutError, match="second"):
        retry(call, describe="reading", attempts=2, first_wait=0.001)
    assert call.count == 2


@pytest.mark.parametrize(
    ("error", "options"),
    [(PermissionError("no"), {}), (KeyboardInterrupt(), {}), (TimeoutError("disk"), {"remote": False})],
    ids=repr,
)
def test_some_calls_are_made_once(error: BaseException, options: dict[str, Any]) -> None:
    call = Call(error)
    with pytest.raises(type(error)):
        retry(call, describe="reading", **options)
    assert call.count == 1


def test_the_time_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock on which a call takes four seconds, and waiting takes what it is to."""
    clock = SimpleNamespace(now=0.0, monotonic=lambda: clock.now, sleep=lambda seconds: go_on(seconds))

    def go_on(seconds: float) -> None:
        clock.now += seconds

    def slow() -> str:
        go_on(4.0)
        return call()

    monkeypatch.setattr("dbutterfly.storage.retries.time", clock)
    monkeypatch.setenv("DBUTTERFLY_STORAGE_TIMEOUT", "10")
    call = Call(*[TimeoutError()] * 9)
    with pytest.raises(TimeoutError):
        retry(slow, describe="reading", attempts=9)
    assert call.count == 3


@pytest.mark.parametrize("value", ["", "soon", "0", "-3", "nan", "inf"])
def test_timeouts_must_be_positive_numbers(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DBUTTERFLY_STORAGE_TIMEOUT", value)
    with pytest.raises(InputError, match="DBUTTERFLY_STORAGE_TIMEOUT="):
        storage_timeout()


def test_reasons_are_one_line() -> None:
    assert reason(obstore_exceptions.GenericError(SLOW_DOWN)) == (
        "GenericError: Generic S3 error: Error performing GET http://h/b/k in 3ms, after 10 retries - Server returned "
        "non-2xx status code: 503 Service Unavailable: SlowDown: Please try again."
    )
    assert reason(KeyError("x")) == "KeyError: 'x'"
    assert "no credentials were found" in reason(obstore_exceptions.GenericError("GET http://169.254.169.254/x"))


def test_an_error_of_storage_says_what_could_not_be_done():
    told = pytest.raises(StoreError, match=r"^cannot write store run\.zarr: OSError: no space; free some$")
    with told as caught, as_store_error("cannot write store run.zarr", "free some"):
        raise OSError("no space")
    assert isinstance(caught.value.__cause__, OSError)


@pytest.mark.parametrize("error", [StoreError("told already"), FileNotFoundError("not there")])
def test_what_is_told_already_or_asked_for_passes(error):
    with pytest.raises(type(error), match=str(error)) as caught, as_store_error("cannot", but=(FileNotFoundError,)):
        raise error
    assert caught.value is error
