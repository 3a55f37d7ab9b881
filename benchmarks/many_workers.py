"""Many workers in one process: ``python -m benchmarks.many_workers SCHEDULER COUNT``, until the scheduler is gone."""

from __future__ import annotations

import asyncio
import sys

import dask
from distributed import Worker


async def work(scheduler: str, count: int) -> None:
    """Start the workers, one thread each, and wait for their end."""
    workers = [Worker(scheduler, nthreads=1, memory_limit=0, dashboard=False) for _ in range(count)]
    await asyncio.gather(*workers)
    await asyncio.gather(*(worker.finished() for worker in workers))


if __name__ == "__main__":
    # Their profiler looks at all threads every 10 ms, which can lock up a process of Python 3.11 that starts many
    # (CPython issue 106883).
    dask.config.set({"distributed.worker.profile.enabled": False})
    asyncio.run(work(sys.argv[1], int(sys.argv[2])))
