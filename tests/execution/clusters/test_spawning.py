"""Processes of this machine that start from a program that does not expect it, in processes of their own."""

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from distributed import get_client

import dbutterfly as dbf
from dbutterfly.errors import InputError
from dbutterfly.execution.clusters import spawning
from tests.support.dask_processes import surroundings
from tests.support.patience import PATIENCE

pytestmark = pytest.mark.slow

CALL = """
import numpy as np
import dbutterfly as dbf
{0}
    print("begins", flush=True)
    fact = dbf.factorize(np.eye(64), cluster="local", workers=1, store="run")
    print("ends", fact.certificate.error_bound < 1e-12)
"""

SENTENCE = (
    "dbutterfly.errors.InputError: cluster='local' starts processes, which run the main file of the program first; put "
    'what the file does, this call included, under if __name__ == "__main__":'
)


def run(program, directory, *, from_file=True):
    (directory / "program.py").write_text(program)
    return subprocess.run(
        [sys.executable, "program.py" if from_file else "-"],
        input=None if from_file else program,
        cwd=directory,
        env=surroundings(),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


@pytest.mark.parametrize(
    "beginning",
    ["if True:", "if bool(__name__):"],
    ids=["no guard", "another condition"],
)
def test_a_program_without_a_guard_is_told_of_it_in_one_sentence(beginning, tmp_path):
    ended = run(CALL.format(beginning), tmp_path)
    assert ended.returncode == 1
    assert ended.stdout.splitlines()[:1] == ["begins"]
    assert "ends" not in ended.stdout
    assert ended.stderr.splitlines()[-1] == SENTENCE
    assert ended.stderr.count("Traceback") == 1


def test_a_program_from_standard_input_is_told_to_become_a_file(tmp_path):
    ended = run(CALL.format("if __name__ == '__main__':"), tmp_path, from_file=False)
    assert ended.stderr.splitlines()[-1].endswith(
        "and there is no file '<stdin>'; write the program to a file, and what it does under if __name__ == "
        '"__main__":'
    )
    assert ended.stderr.count("Traceback") == 1


def test_a_program_with_a_guard_starts_processes(tmp_path):
    ended = run(CALL.format("if __name__ == '__main__':"), tmp_path)
    assert (ended.stdout.splitlines(), ended.stderr) == (["begins", "ends True"], "")


def test_a_plan_starts_nothing_and_needs_no_guard():
    assert len(dbf.plan(dbf.matrices.hadamard(64), cluster="local", workers=1).tiles) == 1


def test_a_worker_of_dask_is_told_that_it_must_not_start_processes(client):
    def call():
        return dbf.factorize(dbf.matrices.hadamard(64), cluster="local", workers=1)

    with pytest.raises(InputError, match=r"must not; pass client=distributed.get_client\(\), or leave it out for thr"):
        client.submit(call, pure=False).result(timeout=PATIENCE)
    assert client.submit(lambda: get_client() is not None, pure=False).result(timeout=PATIENCE)


def test_what_a_failed_start_logs_is_held_and_told_unless_the_reason_is_known(caplog, monkeypatch):
    log = spawning.logging.getLogger("distributed.nanny")
    monkeypatch.setattr(spawning.logging.getLogger("distributed"), "propagate", True)

    def fail(is_known):
        with spawning.starting_processes("local"):
            log.error("a reason")
            if is_known:
                Path(os.environ[spawning.NOTE]).touch()
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail(is_known=False)
    assert "a reason" in caplog.text
    caplog.clear()
    with pytest.raises(InputError, match="under if __name__"):
        fail(is_known=True)
    assert caplog.text == ""
    assert spawning.NOTE not in os.environ


INTERRUPTED = "error: interrupted; finished tasks are kept in run, and the same command resumes\n"

SLOW_START = """
    import os, signal
    from distributed import LocalCluster

    start = LocalCluster.__init__
    def interrupt_and_start(self, *args, **options):
        os.kill(os.getpid(), signal.SIGINT)
        start(self, *args, **options)
    LocalCluster.__init__ = interrupt_and_start
    from dbutterfly.cli import main
    import sys
    if __name__ == "__main__":
        sys.exit(main(["factorize", "z.npy", "run", "--cluster", "local", "--workers", "1", "--quiet"]))
"""


@pytest.mark.skipif(not hasattr(signal, "pthread_sigmask"), reason="no signals of POSIX")
def test_ctrl_c_while_processes_start_ends_the_program_when_they_have(tmp_path):
    np.save(tmp_path / "z.npy", np.eye(64))
    ended = run(textwrap.dedent(SLOW_START), tmp_path)
    assert (ended.returncode, ended.stdout, ended.stderr) == (1, "", INTERRUPTED)
