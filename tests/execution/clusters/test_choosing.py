import dataclasses
import os
import subprocess
import sys

import dask.config
import pytest
import yaml

import dbutterfly as dbf
from dbutterfly.errors import InputError
from dbutterfly.execution import clusters
from dbutterfly.execution.clusters.choosing import KINDS, OPTIONS_OF_ALL_KINDS
from dbutterfly.execution.clusters.configuration import default_text
from dbutterfly.execution.clusters.options import count, duration, flag, mapping, parse_options, size, text, texts

DEFAULTS = yaml.safe_load(default_text())["dbutterfly"]


@pytest.mark.parametrize("name", KINDS)
def test_every_option_has_a_default_and_every_default_is_an_option(name):
    fields = {field.name for field in dataclasses.fields(KINDS[name])} - {"address"}
    keys = {key.replace("-", "_") for key in DEFAULTS[name]}
    assert keys | (set(OPTIONS_OF_ALL_KINDS) & fields) == fields


def test_threads_are_the_default():
    assert isinstance(clusters.choose(), clusters.Threads)
    assert "as many threads" in clusters.choose().text()


@pytest.mark.parametrize("name", [name for name in KINDS if name != "address"])
def test_every_kind_can_be_chosen_by_its_name(name):
    assert clusters.choose(name).name == name


def test_an_address_is_a_kind():
    kind = clusters.choose("tcp://10.0.0.1:8786", workers=4)
    assert (kind.name, kind.address) == ("address", "tcp://10.0.0.1:8786")
    assert kind.resources == {}
    assert clusters.choose("tcp://10.0.0.1:8786", gpu=True).resources["GPU"] > 0
    assert "10.0.0.1" in kind.text()


def test_what_is_configured_counts_and_options_count_more():
    with dask.config.set(
        {"dbutterfly.cluster": "slurm", "dbutterfly.slurm.partition": "long", "dbutterfly.wait": "3h"}
    ):
        kind = clusters.choose(None, threads=3)
    assert (kind.name, kind.partition, kind.wait, kind.threads) == ("slurm", "long", 10800, 3)


def test_the_environment_counts():
    code = "from dbutterfly import clusters; print(clusters.choose('slurm').partition, clusters.choose().name)"
    environment = {"DASK_DBUTTERFLY__SLURM__PARTITION": "night", "DASK_DBUTTERFLY__CLUSTER": "local"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["night", "local"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("configured", "options", "profiled"),
    [
        ("", {}, False),
        ("{distributed: {worker: {profile: {enabled: true}}}}", {}, True),
        ("{distributed: {worker: {profile: {enabled: true}}}}", {"profile": False}, False),
        ("{distributed: {worker: {profile: {enabled: false}}}}", {"profile": True}, True),
        ("{distributed: {worker: {profile: {interval: 20ms}}}}", {}, False),
        ("{dbutterfly: {profile: true}}", {}, True),
    ],
)
def test_workers_are_profiled_where_somebody_wants_it(configured, options, profiled, tmp_path):
    (tmp_path / "dask.yaml").write_text(configured)
    code = f"from dbutterfly import clusters; print(clusters.choose('slurm', **{options}).is_profiled)"
    environment = os.environ | {"DASK_CONFIG": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(profiled)


@pytest.mark.parametrize(
    ("where", "options", "message"),
    [
        ("lokal", {}, "cluster='lokal' is unknown; use one of threads, local, slurm"),
        ("address", {}, "cluster='address' is unknown"),
        (3, {}, r"cluster=3 is a int; use one of .* pass client=distributed.Client"),
        ("local", {"worker": 3}, r"local\.worker is no option of local; did you mean workers\?"),
        ("local", {"zzz": 3}, r"local\.zzz is no option of local; there are tls, wait, profile, workers"),
        ("local", {"workers": 0}, r"local\.workers=0 is not a positive number"),
        ("local", {"threads": None}, r"local\.threads=None leaves out an option that is needed"),
        ("slurm", {"walltime": 5400}, r"slurm\.walltime=5400 is no time as Slurm writes it.*quotes"),
        ("slurm", {"partition": 7}, r"slurm\.partition=7 is no line of text; in YAML, put it in quotes"),
        ("threads", {"tls": "temporary", "workers": 3, "memory": "1GiB"}, r"threads\.memory is no option"),
    ],
)
def test_what_cannot_be_chosen(where, options, message):
    with pytest.raises(InputError, match=message):
        clusters.choose(where, **options)


def test_a_chosen_kind_is_taken_as_it_is():
    kind = clusters.choose("local", workers=1)
    assert clusters.choose(kind) is kind
    assert clusters.choose(kind, workers=None) is kind
    with pytest.raises(InputError, match="cluster='local' has its options already; leave out workers"):
        clusters.choose(kind, workers=2)


def test_something_else_configured():
    with (
        dask.config.set({"dbutterfly.local": "fast"}),
        pytest.raises(InputError, match=r"dbutterfly\.local='fast' in Dask's configuration is no mapping"),
    ):
        clusters.choose("local")
    with (
        dask.config.set({"dbutterfly": 3}),
        pytest.raises(InputError, match=r"Dask's configuration has no dbutterfly\.cluster"),
    ):
        clusters.choose()


@pytest.mark.parametrize(
    ("reader", "given", "value"),
    [
        (count, "12", 12),
        (count, 12, 12),
        (size, "4 GiB", 4 << 30),
        (size, 1024, 1024),
        (duration, "10 minutes", 600.0),
        (duration, 5, 5.0),
        (flag, "true", True),
        (flag, False, False),
        (text, "a b", "a b"),
        (texts, "--begin=now", ("--begin=now",)),
        (texts, "[a, b c]", ("a", "b c")),
        (texts, ["a"], ("a",)),
        (mapping, "{A: 1, B: x}", {"A": "1", "B": "x"}),
        (mapping, {"A": "y"}, {"A": "y"}),
    ],
)
def test_values_are_read_from_yaml_and_from_text(reader, given, value):
    assert reader("o", given) == value


@pytest.mark.parametrize(
    ("reader", "given"),
    [
        (count, "two"),
        (count, 1.5),
        (count, True),
        (count, -1),
        (size, "much"),
        (size, -5),
        (size, None),
        (duration, "a while"),
        (duration, -1),
        (flag, "perhaps"),
        (flag, 1),
        (text, "two\nlines"),
        (text, 5),
        (texts, 5),
        (texts, "[a"),
        (texts, [1]),
        (mapping, "x"),
        (mapping, "{a"),
        (mapping, 3),
    ],
)
def test_values_that_cannot_be_read(reader, given):
    with pytest.raises(InputError, match=r"^o[=:]"):
        reader("o", given)


def test_options_of_the_command_line():
    assert parse_options(["a=1", "b=x=y"]) == {"a": "1", "b": "x=y"}
    for bad in ("a", "=3"):
        with pytest.raises(InputError, match="is not KEY=VALUE"):
            parse_options([bad])


def test_client_and_cluster_exclude_each_other(client):
    with pytest.raises(InputError, match=r"client=.* and cluster='local' exclude each other"):
        dbf.plan(dbf.matrices.dft(8), client=client, cluster="local")
