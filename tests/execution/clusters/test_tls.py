import datetime
import re
import socket
import ssl
import sys

import numpy as np
import pytest

import dbutterfly as dbf
from dbutterfly.errors import InputError, how_to_install
from dbutterfly.execution import clusters
from dbutterfly.execution.clusters.tls import credentials, security_of
from tests.support.dask_processes import Process, start_process
from tests.support.parts import require
from tests.support.patience import wait_until
from tests.support.s3_server import free_ports

x509 = require("cryptography.x509", "tls")
ec = require("cryptography.hazmat.primitives.asymmetric.ec", "tls")
hashes = require("cryptography.hazmat.primitives.hashes", "tls")
serialization = require("cryptography.hazmat.primitives.serialization", "tls")


def written(directory, name):
    """A certificate that is its own authority, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.oid.NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    paths = directory / f"{name}.pem", directory / f"{name}-key.pem"
    paths[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return [str(path) for path in paths]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Certificate (its own authority), certificate, key."""
    cert, key = written(tmp_path_factory.mktemp("tls"), "ours")
    return cert, cert, key


@pytest.fixture(scope="module")
def secure(files, tmp_path_factory):
    """A scheduler and a worker that speak with these credentials only."""
    directory = tmp_path_factory.mktemp("cluster")
    (port,) = free_ports(1)
    address = f"tls://127.0.0.1:{port}"
    options = ("--tls-ca-file", files[0], "--tls-cert", files[1], "--tls-key", files[2])

    started: list[Process] = []
    try:
        for kind, *rest in (
            ("scheduler", "--host", "tls://127.0.0.1", "--port", port, "--dashboard-address", "127.0.0.1:0"),
            ("worker", address, "--nthreads", 1, "--dashboard-address", "127.0.0.1:0", "--no-nanny"),
        ):
            command = [sys.executable, "-m", f"distributed.cli.dask_{kind}", *rest, *options]
            started.append(start_process(command, directory / f"{kind}.log"))
        wait_until(lambda: "Registered to" in started[1].said(), what="the worker is registered")
        yield address
    finally:
        for process in started:
            process.kill()


@pytest.mark.slow
def test_a_scheduler_with_given_credentials(files, secure):
    matrix = np.asarray(dbf.matrices.dft(64))
    kind = clusters.choose(secure, tls=",".join(files))
    found = dbf.factorize(matrix, orderings=(None, "bitreversal"), cluster=kind)
    assert found.certificate.error_bound < 1e-14
    assert kind == clusters.choose(secure, tls={"ca": files[0], "cert": files[1], "key": files[2]})


def test_others_are_not_let_in(files, secure, tmp_path):
    cert, key = written(tmp_path, "theirs")
    with (
        pytest.raises(InputError, match="no Dask scheduler can be reached at 'tls://"),
        clusters.opened(secure, tls=[cert, cert, key], wait=1) as cluster,
    ):
        cluster.client()
    host, port = secure.removeprefix("tls://").split(":")
    context = ssl.create_default_context(cafile=files[0])
    context.check_hostname = False
    with (
        pytest.raises((ssl.SSLError, ConnectionError)),  # TLS 1.3 refuses the missing certificate after its hello
        socket.create_connection((host, int(port))) as plain,
        context.wrap_socket(plain) as wrapped,
    ):
        wrapped.recv(1)


@pytest.mark.slow
def test_a_local_cluster_with_given_credentials(files):
    with clusters.opened("local", workers=1, tls=files) as cluster:
        client = cluster.client()
        assert client.scheduler.address.startswith("tls://127.0.0.1")
        assert all(address.startswith("tls://") for address in client.scheduler_info()["workers"])


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("self-signed", "t='self-signed' names no credentials; use temporary, or the files CA,CERT,KEY"),
        ("a,b", "names no credentials"),
        ({"ca": "x"}, "names no credentials"),
        (7, "names no credentials"),
        ("no-ca.pem,no-cert.pem,no-key.pem", "t: there is no file 'no-ca.pem', which should hold the ca"),
    ],
)
def test_what_are_no_credentials(value, message):
    with pytest.raises(InputError, match=message):
        credentials("t", value)


def test_files_that_do_not_fit_each_other(files, tmp_path):
    _, other = written(tmp_path, "other")
    with pytest.raises(InputError, match="holds no credentials that fit each other"):
        security_of((files[0], files[1], other))


def test_where_credentials_make_no_sense(files):
    with pytest.raises(InputError, match="makes credentials that the scheduler at tls://x:1 does not have"):
        clusters.choose("tls://x:1", tls="temporary").check()
    with pytest.raises(InputError, match="goes with an address tls://HOST:PORT, not 'tcp://x:1'"):
        clusters.choose("tcp://x:1", tls=files).check()
    with pytest.raises(InputError, match="has nothing to protect"):
        dbf.plan(dbf.matrices.dft(8), cluster=clusters.choose("threads", tls=files))


def test_a_missing_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "cryptography", None)
    with pytest.raises(InputError, match=re.escape(how_to_install("tls"))):
        security_of("temporary")
