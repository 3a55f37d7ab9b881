"""Several hosts on one machine: network namespaces behind a bridge, each with an address and a limited link."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from typing import Any, Self

import psutil

PREFIX = "dbutterfly"


def why_not() -> str | None:
    """Why there can be no hosts here; None if there can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    missing = [tool for tool in ("ip", "tc") if shutil.which(tool) is None]
    if missing:
        return f"network namespaces need {' and '.join(missing)} (iproute2)"
    probe = f"{PREFIX}-{os.getpid()}-probe"
    made = subprocess.run(["ip", "netns", "add", probe], capture_output=True, text=True, check=False)
    subprocess.run(["ip", "netns", "del", probe], capture_output=True, check=False)
    return f"no network namespace can be made: {made.stderr.strip()}" if made.returncode else None


@dataclass(frozen=True)
class Hosts:
    """Hosts that reach each other and nothing else, for a ``with`` block.

    Parameters
    ----------
    names : tuple of str
        What they are called.
    rate : str
        Most that a host sends, as ``tc`` writes it.
    """

    names: tuple[str, ...]
    rate: str = "200mbit"

    def __enter__(self) -> Self:
        _remove_orphans()
        try:
            self._build()
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self._remove()

    def address(self, name: str) -> str:
        """Address of a host."""
        return f"10.77.0.{self.names.index(name) + 1}"

    def within(self, name: str) -> list[str]:
        """Beginning of a command that runs on a host."""
        ip = shutil.which("ip")
        assert ip is not None
        return [ip, "netns", "exec", self._space(name)]

    def cut(self, name: str) -> None:
        """Take the link of a host away; nobody is told."""
        _ip("-n", self._space("switch"), "link", "set", self._port(name), "down")

    def bytes_moved(self, name: str) -> int:
        """Bytes that a host has sent and received."""
        [link] = json.loads(_ip("-n", self._space(name), "-s", "-j", "link", "show", "eth0"))
        return int(link["stats64"]["rx"]["bytes"] + link["stats64"]["tx"]["bytes"])

    def _build(self) -> None:
        switch = self._space("switch")
        _ip("netns", "add", switch)
        _ip("-n", switch, "link", "add", "bridge", "type", "bridge")
        _ip("-n", switch, "link", "set", "bridge", "up")
        for name in self.names:
            space, port = self._space(name), self._port(name)
            _ip("netns", "add", space)
            _ip("-n", space, "link", "set", "lo", "up")
            _ip("-n", space, "link", "add", "eth0", "type", "veth", "peer", "name", port, "netns", switch)
            _ip("-n", space, "addr", "add", f"{self.address(name)}/24", "dev", "eth0")
            _ip("-n", space, "link", "set", "eth0", "up")
            _ip("-n", switch, "link", "set", port, "master", "bridge", "up")
            _call("tc", "-n", space, *f"qdisc add dev eth0 root tbf rate {self.rate} burst 256kb latency 100ms".split())

    def _remove(self) -> None:
        for name in (*self.names, "switch"):
            subprocess.run(["ip", "netns", "del", self._space(name)], capture_output=True, check=False)

    def _space(self, name: str) -> str:
        return f"{PREFIX}-{os.getpid()}-{name}"

    def _port(self, name: str) -> str:
        return f"port{self.names.index(name)}"


def _ip(*arguments: str) -> str:
    return _call("ip", *arguments)


def _call(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout


def _remove_orphans() -> None:
    """Remove what tests have left that were killed."""
    for line in _ip("netns", "list").splitlines():
        name = line.split()[0]
        prefix, _, rest = name.partition("-")
        pid = rest.partition("-")[0]
        if prefix == PREFIX and pid.isdigit() and not psutil.pid_exists(int(pid)):
            with contextlib.suppress(RuntimeError):
                _ip("netns", "del", name)


def spaces() -> Any:
    """Namespaces of this process."""
    return [line for line in _ip("netns", "list").splitlines() if line.startswith(f"{PREFIX}-{os.getpid()}-")]
