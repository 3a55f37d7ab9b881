"""Clusters that are started here, by a class of Dask's.

A kind overrides data: its options, the class that it is built on, the keywords of that class. All
kinds share the way from there to a client. Their workers are processes of this machine, or a resource manager gives
them.

Dask's profiler is off in these workers unless it is asked for. The profiler looks at the stacks of all threads a
hundred times a second. That takes a part of a worker's processor time, and can lock up a process of Python 3.11 in
which a thread begins or ends meanwhile (CPython issue 106883, distributed issue 8616), as one does with every tile that
is read ahead.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import signal
from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import dask.config
import yaml

from ...errors import ClusterError, DButterflyError, InputError, how_to_install
from ..dashboards import announce_dashboard
from .configuration import user_setting
from .kind import GPU_OF_TASK, ExpectedWorkers, Kind
from .options import count, flag, option, size, text
from .spawning import check_process, starting_processes
from .tls import security_of

if TYPE_CHECKING:
    from distributed import Client
    from distributed.security import Security

__all__ = ["ONE_BLAS_THREAD", "Launched", "Managed", "OnThisMachine", "memory_limit"]

ONE_BLAS_THREAD = {f"{library}_NUM_THREADS": "1" for library in ("OMP", "OPENBLAS", "MKL")}
"""Variables of the environment that hold libraries to one thread each, which would start threads of their own."""

PROFILER = "distributed.worker.profile.enabled"
"""Key of Dask's configuration that switches its profiler on."""

_log = logging.getLogger("dbutterfly")


@dataclass(frozen=True, kw_only=True)
class Launched(Kind):
    """A cluster that is started here, by a class of Dask's.

    Attributes
    ----------
    module, class_name, extra : str
        Module and name of that class, and the extra of this package that installs it; None where none is needed.
    profile : bool, optional
        Whether Dask's profiler is on; by default as Dask's configuration says, and off where it says nothing.
    """

    module: ClassVar[str]
    class_name: ClassVar[str]
    extra: ClassVar[str | None] = None

    profile: bool | None = option(flag, optional=True)

    @property
    def is_profiled(self) -> bool:
        """Whether Dask's profiler is on, after configuration and default."""
        return bool(user_setting(PROFILER, False)) if self.profile is None else self.profile

    @abstractmethod
    def keywords(self, security: Security | None) -> dict[str, Any]:
        """Keywords with which the class is called."""

    def check(self) -> None:
        """See that the class can be imported.

        Raises
        ------
        InputError
            If its package is not installed.
        """
        self.cluster_class()

    def text(self) -> str:
        """The class with its keywords, as YAML."""
        keywords = {name: value for name, value in self.keywords(None).items() if value is not None}
        body: str = yaml.safe_dump({self.class_name: keywords}, sort_keys=False, default_flow_style=False)
        return body

    def check_expected(self) -> None:
        """See :meth:`Kind.check_expected`."""
        if self.expected() is None:
            raise InputError(
                f"only the running cluster={self.name!r} knows how many workers it has; to plan for it before it is "
                "started, say how many: workers"
            )

    def prepare(self) -> None:
        """Make the directories or files that must be there beforehand; by default none."""

    def starting(self) -> contextlib.AbstractContextManager[None]:
        """Block in which the cluster starts; by default an ordinary one."""
        return contextlib.nullcontext()

    def scale(self, cluster: Any) -> None:
        """Ask the cluster for its workers; by default they are there already."""

    def complaint(self) -> str:
        """Reasons why workers may be late, as far as can be found out."""
        return ""

    def cluster_class(self) -> Any:
        """Import the class.

        Raises
        ------
        InputError
            If its package is not installed.
        """
        try:
            with _unchanged_ctrl_c():
                return getattr(importlib.import_module(self.module), self.class_name)
        except ImportError as error:
            package = self.module.partition(".")[0].replace("_", "-")
            raise InputError(
                f"cluster={self.name!r} needs {package}, which cannot be imported ({error}); install it with: "
                f"{how_to_install(str(self.extra))}"
            ) from error

    @contextlib.contextmanager
    def started(self) -> Iterator[Client]:
        """See :meth:`Kind.started`."""
        from distributed import Client

        make, security = self.cluster_class(), security_of(self.tls)
        with contextlib.ExitStack() as stack:
            try:
                self.prepare()
                # Workers of this machine start with the configuration.
                with self.starting(), dask.config.set({PROFILER: self.is_profiled}):
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
        _log.info("waiting for workers of %s", self.name)
        announce_dashboard(client, None)
        try:
            client.wait_for_workers(1, timeout=self.wait)
        except TimeoutError:
            raise ClusterError(
                f"cluster={self.name!r} has had no worker for {self.wait:g} s (option wait){self.complaint()}"
            ) from None


@dataclass(frozen=True, kw_only=True)
class OnThisMachine(Launched):
    """Processes of this machine, which are connected by loopback.

    Attributes
    ----------
    workers : int, optional
        Processes; by default as many as the machine is good for (see :attr:`processes`).
    threads : int
        Threads of each worker.
    memory : int, optional
        Bytes of the machine's memory that each worker may hold; by default an equal share (see :attr:`share`).
    directory : str, optional
        Where workers spill.
    dashboard : str
        Where the dashboard listens.
    """

    workers: int | None = option(count, optional=True)
    threads: int = option(count)
    memory: int | None = option(size, optional=True)
    directory: str | None = option(text, optional=True)
    dashboard: str = option(text)

    @property
    @abstractmethod
    def processes(self) -> int | None:
        """Number of workers, after the default; None where only the running cluster knows."""

    @property
    @abstractmethod
    def share(self) -> float:
        """Part of the machine's memory that a worker may hold where ``memory`` is not given."""

    def check_process(self) -> None:
        """See :meth:`Kind.check_process`."""
        check_process(self.name)

    def starting(self) -> contextlib.AbstractContextManager[None]:
        """See :meth:`Launched.starting`."""
        return starting_processes(self.name)

    def expected(self) -> ExpectedWorkers | None:
        """See :meth:`Kind.expected`; of the machine's memory counts what limits of the system leave."""
        if self.processes is None:
            return None
        return ExpectedWorkers(self.processes, self.threads, self.memory or int(memory_limit() * self.share))

    def keywords(self, security: Security | None) -> dict[str, Any]:
        """See :meth:`Launched.keywords`."""
        expected = self.expected()
        return {
            "n_workers": self.processes,
            "threads_per_worker": self.threads,
            "memory_limit": "auto" if expected is None else expected.memory,
            "local_directory": self.directory,
            "host": "127.0.0.1",
            "dashboard_address": self.dashboard,
            "security": security,
            "protocol": None if security is None else "tls://",
        }


@dataclass(frozen=True, kw_only=True)
class Managed(Launched):
    """Workers that a resource manager gives, as many as it has room for, and replaces when they are lost.

    Attributes
    ----------
    workers, minimum : int
        Most and fewest workers at a time; by default their number does not change.
    threads, memory : int
        Threads of each worker, and bytes that each may hold.
    gpu : bool
        Whether each worker has a GPU of its own.
    """

    workers: int = option(count)
    minimum: int | None = option(count, optional=True)
    threads: int = option(count)
    memory: int = option(size)
    gpu: bool = option(flag)

    @property
    def fewest(self) -> int:
        """Fewest workers at a time, after the default."""
        return self.workers if self.minimum is None else self.minimum

    @property
    def resources(self) -> dict[str, float]:
        """See :attr:`Kind.resources`."""
        return dict(GPU_OF_TASK) if self.gpu else {}

    @property
    def variables(self) -> dict[str, str]:
        """Variables for the environment of workers, which the resource manager starts."""
        return {**ONE_BLAS_THREAD, f"DASK_{PROFILER.replace('.', '__').upper()}": str(self.is_profiled)}

    def expected(self) -> ExpectedWorkers:
        """See :meth:`Kind.expected`."""
        return ExpectedWorkers(self.workers, self.threads, self.memory)

    def check(self) -> None:
        """See that the class can be imported, and that ``minimum`` is not more than ``workers``.

        Raises
        ------
        InputError
            If not.
        """
        super().check()
        if self.fewest > self.workers:
            raise InputError(f"{self.name}.minimum={self.minimum} is more than workers={self.workers}")


def memory_limit() -> int:
    """Bytes of this machine's memory that limits of the system leave to this process."""
    from distributed.system import MEMORY_LIMIT

    return int(MEMORY_LIMIT)


@contextlib.contextmanager
def _unchanged_ctrl_c() -> Iterator[None]:
    """Restore the handler of Ctrl-C afterwards: the import of dask-jobqueue sets one that ends the program silently."""
    before = signal.getsignal(signal.SIGINT)
    try:
        yield
    finally:
        if before is not None and signal.getsignal(signal.SIGINT) is not before:
            signal.signal(signal.SIGINT, before)
