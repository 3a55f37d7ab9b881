"""Errors of storage that may pass by themselves, and trying again when they are met.

The client of object storage (:mod:`dbutterfly.storage.remote`) already tries each request again. The errors that get
through it are those of a connection that breaks while an answer is being read, of a server that is away for longer, and
of other storage libraries.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import random
import re
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from ..errors import InputError, StoreError

__all__ = [
    "TIMEOUT_VARIABLE",
    "AbsentError",
    "as_store_error",
    "is_absence",
    "may_pass",
    "reason",
    "retry",
    "shorten",
    "storage_timeout",
]

TIMEOUT_VARIABLE = "DBUTTERFLY_STORAGE_TIMEOUT"
"""Environment variable: seconds after which a storage that does not answer is given up."""

DEFAULT_TIMEOUT = 60.0
"""Seconds after which a storage that does not answer is given up, unless the environment says otherwise. Not tuned."""

LONGEST_WAIT = 2.0
"""Seconds, give or take half, between two calls at most. Not tuned."""

LASTING_ERRORS = (FileNotFoundError, FileExistsError, IsADirectoryError, NotADirectoryError, PermissionError)
"""Errors of a file system that the next call would meet again."""

LASTING_CODES = {
    errno.ENOSPC, errno.EROFS, errno.EDQUOT, errno.EINVAL, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG,
    errno.ENOTSUP, errno.EFBIG,
}  # fmt: skip
"""Numbers of errors of the system that the next call would meet again."""

PASSING_STATUS = {408, 409, 425, 429}
"""Answers of a server by which it asks to be asked again, besides those from 500 on: timeouts, conflicts, limits."""

PASSING_TYPES = {
    "aiohttp.ClientConnectionError",
    "aiohttp.ClientPayloadError",
    "azure.ServiceRequestError",
    "azure.ServiceResponseError",
    "botocore.ConnectionError",
    "botocore.HTTPClientError",
    "http.HTTPException",
    "obstore.GenericError",
    "urllib3.HTTPError",
}
"""Errors of the libraries below, by package and class, of a connection that breaks or is not there."""

NO_CREDENTIALS = ("http://169.254.169.254/", "http://metadata.google.internal/")
"""Services of the machines of a cloud, which are asked for credentials when there are none elsewhere."""

LASTING_TEXTS = ("builder error", *NO_CREDENTIALS)
"""Texts of errors that are of a passing type and yet last: a request that cannot be made, or credentials missing."""

LONGEST_TEXT = 1200
"""Most letters of a part of a message. Not tuned: paths may have 4096 on Linux, and hardly have a tenth of that."""

T = TypeVar("T")

_log = logging.getLogger("dbutterfly")


class AbsentError(OSError):
    """Something that exists was not found."""


def retry(
    call: Callable[[], T], *, describe: str, remote: bool = True, attempts: int = 8, first_wait: float = 0.2
) -> T:
    """Call something that reads or writes storage, again where its error may pass.

    Parameters
    ----------
    call : callable
        What to do; it must be harmless to do twice.
    describe : str
        What it does, for the log: ``"read rows 0..63 of s3://bucket/z.zarr"``.
    remote : bool
        Whether the storage is reached over a network (:func:`dbutterfly.storage.places.is_remote`); otherwise the first
        error is raised.
    attempts : int
        Most calls made. None is begun once :func:`storage_timeout` seconds have gone by. Opening a Zarr node is eight
        small requests, all of which must come through: where one answer in thirty breaks off, one call in five fails.
    first_wait : float
        Seconds before the second call, give or take half; twice as long before each further one, up to two seconds.

    Returns
    -------
    object
        What the call returned.

    Raises
    ------
    Exception
        The call's own: at once if it will not pass, else that of the last attempt.
    """
    started, wait = time.monotonic(), first_wait
    for attempt in range(1, attempts + 1):
        try:
            return call()
        except Exception as error:
            waited = time.monotonic() - started
            if not remote or attempt == attempts or waited >= storage_timeout() or not may_pass(error):
                raise
            pause = wait * random.uniform(0.5, 1.5)
            _log.warning(
                "%s failed (%s); trying again in %.1f s, attempt %d of %d",
                describe, reason(error), pause, attempt + 1, attempts,
            )  # fmt: skip
        time.sleep(pause)
        wait = min(2 * wait, max(first_wait, LONGEST_WAIT))
    raise ValueError(f"attempts={attempts} is less than 1")


@contextlib.contextmanager
def as_store_error(what: str, remedy: str = "", *, but: tuple[type[Exception], ...] = ()) -> Iterator[None]:
    """Raise an error of storage as a StoreError that says what could not be done.

    Parameters
    ----------
    what : str
        Beginning of the message, such as ``"cannot write store run.zarr"``; the reason follows.
    remedy : str
        End of the message.
    but : tuple of exceptions
        Errors that are raised as they are.

    Raises
    ------
    StoreError
        In place of any error of the block but these, and a StoreError of its own.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, (StoreError, *but)):
            raise
        raise StoreError(f"{what}: {reason(error)}{remedy and f'; {remedy}'}") from error


def storage_timeout() -> float:
    """Seconds after which a storage that does not answer is given up; 60 unless the environment says otherwise.

    Raises
    ------
    InputError
        If ``DBUTTERFLY_STORAGE_TIMEOUT`` is no positive number.
    """
    given = os.environ.get(TIMEOUT_VARIABLE)
    try:
        seconds = DEFAULT_TIMEOUT if given is None else float(given)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= 86400:
        raise InputError(f"{TIMEOUT_VARIABLE}={given!r} in the environment is no number of seconds between 0 and 86400")
    return seconds


def may_pass(error: BaseException) -> bool:
    """Whether an error of storage may be gone when the same is tried again: no connection, no answer, server errors."""
    if isinstance(error, AbsentError):
        return True
    if isinstance(error, LASTING_ERRORS):
        return False
    status = _status(error)
    if status is not None:
        return status >= 500 or status in PASSING_STATUS
    if isinstance(error, OSError):  # certificates that do not verify are ValueErrors too
        return error.errno not in LASTING_CODES and not isinstance(error, ValueError)
    types = {f"{kind.__module__.split('.')[0]}.{kind.__name__}" for kind in type(error).__mro__}
    # The compiled codec pipeline turns every error of obstore into a RuntimeError with its text.
    known = types & PASSING_TYPES or (isinstance(error, RuntimeError) and re.search(r"Generic \w+ error", str(error)))
    return bool(known) and not any(text in str(error) for text in LASTING_TEXTS)


def is_absence(error: BaseException) -> bool:
    """Whether an error says that something was not found in a place that was."""
    return (isinstance(error, FileNotFoundError) or _status(error) == 404) and "NoSuchBucket" not in str(error)


def reason(error: BaseException) -> str:
    """Type and message of an error in one line, without the dumps that storage libraries add to theirs."""
    text = str(error).split("\n\nDebug source", 1)[0]
    text = re.sub(r"(<\?xml[^>]*>\s*)?<Error>.*?(</Error>|$)", _code_and_message, text, flags=re.DOTALL)
    if any(text in str(error) for text in NO_CREDENTIALS):
        text += "; no credentials were found: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or the like"
    return shorten(f"{type(error).__name__}: {' '.join(text.split())}")


def shorten(text: str) -> str:
    """Leave out the middle of a text that is too long to be read, such as one that holds a place of 5000 letters."""
    return text if len(text) <= LONGEST_TEXT else f"{text[: LONGEST_TEXT // 2]}...{text[-LONGEST_TEXT // 2 :]}"


def _code_and_message(xml: re.Match[str]) -> str:
    parts = (re.search(f"<{tag}>(.*?)</{tag}>", xml[0], flags=re.DOTALL) for tag in ("Code", "Message"))
    return ": ".join(part[1] for part in parts if part)


def _status(error: BaseException) -> int | None:
    """HTTP status that an error carries, as obstore, botocore, aiohttp and azure write it."""
    response = getattr(error, "response", None)
    if isinstance(response, dict):
        status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    else:
        status = getattr(error, "status", getattr(error, "status_code", None))
    if isinstance(status, int):
        return status
    found = re.search(r"status code: (\d{3})\b", str(error))
    return int(found[1]) if found else None
