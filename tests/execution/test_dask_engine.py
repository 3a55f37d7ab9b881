"""Clients that cannot be used are refused at once, in one sentence."""

import asyncio
import subprocess
import sys

import numpy as np
import pytest
from distributed import Client, LocalCluster

import dbutterfly as dbf
from dbutterfly.errors import InputError
from dbutterfly.execution import dask_engine
from tests.support.dask_processes import make_hasty, surroundings

MATRIX = np.eye(8)


def calls(client, directory):
    fact = dbf.factorize(MATRIX)
    yield lambda: dbf.factorize(MATRIX, client=client)
    yield lambda: dbf.plan(MATRIX, client=client)
    yield lambda: dbf.verify(fact, MATRIX, client=client)
    yield lambda: dbf.identify(MATRIX, client=client)
    yield lambda: dbf.stream_product(fact.operator, MATRIX, directory / "product.zarr", client=client)


def start(**options):
    return LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None, memory_limit=None, **options
    )


def test_a_closed_client_is_refused(tmp_path):
    with start() as cluster, Client(cluster, set_as_default=False) as client:
        pass
    for call in calls(client, tmp_path):
        with pytest.raises(InputError, match=r"^client=<Client.*> is closed; connect a new distributed.Client$"):
            call()
    assert list(tmp_path.iterdir()) == []


def test_an_asynchronous_client_is_refused(tmp_path):
    async def refuse():
        async with start(asynchronous=True) as cluster, Client(cluster, asynchronous=True) as client:
            for call in calls(client, tmp_path):
                with pytest.raises(InputError, match=r"^client is asynchronous; pass a synchronous distributed"):
                    call()

    asyncio.run(refuse())


@pytest.mark.slow
def test_a_client_whose_scheduler_has_ended_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(dask_engine, "SECONDS_FOR_ANSWER", 0.5)
    cluster = start()
    with make_hasty(Client(cluster.scheduler_address, set_as_default=False)) as client:
        cluster.close()
        for call in calls(client, tmp_path):
            with pytest.raises(InputError, match=r"^client=<Client.*(does not answer, and has|is closed)"):
                call()


@pytest.mark.slow
def test_the_program_ends_when_an_address_cannot_be_one(tmp_path):
    """Dask would wait for a minute at its end; less is allowed here."""
    np.save(tmp_path / "z.npy", MATRIX)
    command = [sys.executable, "-m", "dbutterfly", "plan", "z.npy", "--cluster", "nowhere://1"]
    ended = subprocess.run(
        command, cwd=tmp_path, env=surroundings(), capture_output=True, text=True, timeout=50, check=False
    )
    assert (ended.returncode, ended.stdout) == (2, "")
    (line,) = ended.stderr.splitlines()
    assert line.startswith("error: no Dask scheduler can be reached at 'nowhere://1': unknown address scheme 'nowhere'")
