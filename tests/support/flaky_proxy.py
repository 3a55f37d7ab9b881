"""A proxy in front of a server, which fails as networks and busy servers do."""

from __future__ import annotations

import asyncio
import random
import threading
from collections import Counter
from typing import Any

from tests.support.patience import PATIENCE


class FlakyProxy:
    """A proxy in front of a server, which lets a share of the requests fail; to be used in a ``with`` block.

    Every request meets at most one fault, chosen by seeded chance; the shares may be changed at any time.

    Parameters
    ----------
    target : str
        URL of the server.
    seed : int
        Of the choices.
    errors : float
        Share of the requests that are answered with 503 or 500 and do not reach the server.
    resets : float
        Share whose answer is cut in its middle: the server has done what was asked.
    delays : float
        Share whose answer comes ``delay`` seconds later.
    absences : float
        Share of the requests, of whatever kind, that are answered with 404 and do not reach the server.

    Attributes
    ----------
    endpoint : str
        URL of the proxy.
    counts : Counter
        What it did: ``requests``, ``errors``, ``resets``, ``delays``, ``absences``, ``unanswered``.
    """

    def __init__(
        self,
        target: str,
        *,
        seed: int = 0,
        errors: float = 0,
        resets: float = 0,
        delays: float = 0,
        absences: float = 0,
        delay: float = 0.2,
    ) -> None:
        self.errors, self.resets, self.delays, self.delay = errors, resets, delays, delay
        self.absences = absences
        self.counts: Counter[str] = Counter()
        host, port = target.removeprefix("http://").split(":")
        self._target = (host, int(port))
        self._random = random.Random(seed)
        self._alive = asyncio.Event()
        self._alive.set()
        self._tasks: set[asyncio.Task[Any]] = set()

    def die(self) -> None:
        """Answer nothing from now on: connections are accepted, and closed when it lives again, or this block ends."""
        self._alive.clear()

    def revive(self) -> None:
        """Answer again."""
        self._loop.call_soon_threadsafe(self._alive.set)

    def __enter__(self) -> FlakyProxy:
        ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run(ready)), daemon=True)
        self._thread.start()
        if not ready.wait(PATIENCE):
            raise RuntimeError("the proxy does not start")
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()

    async def _run(self, ready: threading.Event) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=1 << 20)
        self.endpoint = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        ready.set()
        await self._stop.wait()
        server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        upstream = None
        try:
            upstream = await asyncio.open_connection(*self._target, limit=1 << 20)
            while await self._exchange(reader, writer, *upstream):
                pass
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            for one in (writer, *(upstream or ())[1:]):
                one.transport.abort()

    async def _exchange(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, up_reader: Any, up_writer: Any
    ) -> bool:
        """Pass one request and its answer; False if the connection is to be closed."""
        head, body = await _message(reader)
        self.counts["requests"] += 1
        if not self._alive.is_set():
            self.counts["unanswered"] += 1
            await self._alive.wait()
            return False
        fault = self._fault()
        self.counts[fault] += fault != ""
        if fault == "errors":
            code = self._random.choice(["503 Slow Down", "500 Internal Server Error"])
            text = f"<Error><Code>{code[4:].replace(' ', '')}</Code><Message>Please try again.</Message></Error>"
            writer.write(f"HTTP/1.1 {code}\r\nContent-Length: {len(text)}\r\n\r\n{text}".encode())
            await writer.drain()
            return True
        if fault == "absences":
            text = "<Error><Code>NoSuchKey</Code><Message>The specified key does not exist.</Message></Error>"
            body = "" if head.startswith(b"HEAD ") else text
            writer.write(f"HTTP/1.1 404 Not Found\r\nContent-Length: {len(text)}\r\n\r\n{body}".encode())
            await writer.drain()
            return True
        up_writer.write(head + body)
        head, body = await _message(up_reader, is_answer_to=head)
        if fault == "resets":
            writer.write((head + body)[: len(head) // 2 if not body else len(head) + len(body) // 2])
            await writer.drain()
            return False
        if fault == "delays":
            await asyncio.sleep(self.delay)
        writer.write(head + body)
        await writer.drain()
        return True

    def _fault(self) -> str:
        chance = self._random.random()
        for name in ("errors", "resets", "delays", "absences"):
            chance -= getattr(self, name)
            if chance < 0:
                return name
        return ""


async def _message(reader: asyncio.StreamReader, is_answer_to: bytes = b"") -> tuple[bytes, bytes]:
    head = await reader.readuntil(b"\r\n\r\n")
    fields = dict(line.lower().split(b":", 1) for line in head.split(b"\r\n")[1:] if b":" in line)
    if is_answer_to.startswith(b"HEAD ") or head.split(b" ")[1] in (b"204", b"304"):
        return head, b""
    if b"chunked" not in fields.get(b"transfer-encoding", b""):
        return head, await reader.readexactly(int(fields.get(b"content-length", b"0")))
    body = b""
    while not body.endswith(b"\r\n0\r\n\r\n") and body != b"0\r\n\r\n":
        size = await reader.readuntil(b"\r\n")
        body += size + await reader.readexactly(int(size.split(b";")[0], 16) + 2)
    return head, body
