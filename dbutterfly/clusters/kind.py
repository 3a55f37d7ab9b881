"""What every kind of cluster can do: say what it will be, check that it can be, start, and close again.

A kind overrides data: its options, the class that it is built on, the keywords of that class. The way from there to a
client is the same for all of them.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import signal
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import yaml
from distributed import Client
from distributed.security import Security

from ..errors import ClusterError, DButterflyError, InputError
from .options import duration, option
from .tls import credentials, security_of

__all__ = ["GPU", "GPU_OF_TASK", "Expected", "Kind", "Launched"]

GPU = {"GPU": 1}
"""Dask resource that workers with a GPU of their own have."""
GPU_OF_TASK = {"GPU": 2.0**-10}
"""What a task takes of it: so little that it decides where the task runs, and not how many run at a time, which is for
threads to say. A task that waits for its turn holds its share too, having read its tile ahead."""

_log = logging.getLogger("dbutterfly")


class Expected(NamedTuple):
    """What there will be, before anything is started.

    Attributes
    ----------
    workers : int
        Processes, at most.
    threads : int
        Of each.
    memory : int
        Bytes that each may hold.
    """

    workers: int
    threads: int
    memory: int


@dataclass(frozen=True, kw_only=True)
class Kind(ABC):
    """A way to get workers.

    Attributes
    ----------
    tls : str or tuple of str, optional
        See :func:`~dbutterfly.clusters.tls.credentials`.
    wait : float
        Seconds to wait for the first worker, and for another one when all are gone.
    """

    name: ClassVar[str]

    tls: Any = option(credentials, optional=True)
    wait: float = option(duration)

    def expected(self) -> Expected | None:
        """What there will be; None where only the running cluster knows."""
        return None

    @property
    def resources(self) -> dict[str, float]:
        """Dask resources that a worker must have to be given a task."""
        return {}

    def check(self) -> None:
        """See whether it can be started, without starting anything.

        Raises
        ------
        InputError
            If it cannot; the message says which option asks for too much, or what is to be installed.
        """
        return

    @abstractmethod
    def text(self) -> str:
        """What will be started, for a reader."""

    @abstractmethod
    def started(self) -> contextlib.AbstractContextManager[Client]:
        """Client of the running cluster, which has been checked and ends with the block.

        Raises
        ------
        InputError
            If it cannot be had with these options, or is not there.
        ClusterError
            If it does not start, or no worker arrives.
        """


@dataclass(frozen=True, kw_only=True)
class Launched(Kind):
    """A cluster that is started here, by a class of Dask's.

    Attributes
    ----------
    module, class_name, extra : str
        Where that class is, and the extra of this package that installs it; None where none is needed.
    """

    module: ClassVar[str]
    class_name: ClassVar[str]
    extra: ClassVar[str | None] = None

    @abstractmethod
    def keywords(self, security: Security | None) -> dict[str, Any]:
        """Keywords of the class."""

    def text(self) -> str:
        """The class with its keywords, as YAML."""
        keywords = {name: value for name, value in self.keywords(None).items() if value is not None}
        body: str = yaml.safe_dump({self.class_name: keywords}, sort_keys=False, default_flow_style=False)
        return body

    def prepare(self) -> None:
        """Make what must be there beforehand; by default nothing."""

    def scale(self, cluster: Any) -> None:
        """Ask for the workers; by default they are there already."""

    def complaint(self) -> str:
        """Why workers may be late, as far as can be found out."""
        return ""

    def cluster_class(self) -> Any:
        """The class, imported.

        Raises
        ------
        InputError
            If what it needs is not installed.
        """
        try:
            with _same_ctrl_c():
                return getattr(importlib.import_module(self.module), self.class_name)
        except ImportError as error:
            package = self.module.partition(".")[0].replace("_", "-")
            raise InputError(
                f"cluster={self.name!r} needs {package}, which cannot be imported ({error}); install it with: "
                f'pip install "dbutterfly[{self.extra}]"'
            ) from error

    @contextlib.contextmanager
    def started(self) -> Iterator[Client]:
        """See :meth:`Kind.started`."""
        make, security = self.cluster_class(), security_of(self.tls)
        with contextlib.ExitStack() as stack:
            try:
                self.prepare()
                cluster = stack.enter_context(make(**self.keywords(security)))
                client = stack.enter_context(Client(cluster, set_as_default=False))
                self.scale(cluster)
            except DButterflyError:
                raise
            except Exception as error:
                raise ClusterError(f"cluster={self.name!r} does not start: {type(error).__name__}: {error}") from error
            self._wait(client)
            yield client

    def _wait(self, client: Client) -> None:
        _log.info("waiting for workers of %s; the dashboard is at %s", self.name, client.dashboard_link)
        try:
            client.wait_for_workers(1, timeout=self.wait)
        except TimeoutError:
            raise ClusterError(
                f"cluster={self.name!r} has had no worker for {self.wait:g} s (option wait){self.complaint()}"
            ) from None


@contextlib.contextmanager
def _same_ctrl_c() -> Iterator[None]:
    """Keep what Ctrl-C does: dask-jobqueue, when it is imported, makes it end the program without a word, and well."""
    before = signal.getsignal(signal.SIGINT)
    try:
        yield
    finally:
        if before is not None and signal.getsignal(signal.SIGINT) is not before:
            signal.signal(signal.SIGINT, before)
