import copy
import itertools
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from dbutterfly.cli.app import main
from dbutterfly.errors import InputError
from dbutterfly.execution import clusters
from tests.support.kubernetes_schemas import chart, check, custom_validators, documents, jsonschema, kubernetes_validate
from tests.support.patience import PATIENCE

DEPLOY = Path(__file__).parents[3] / "deploy" / "kubernetes"
MANIFESTS = sorted(path for path in DEPLOY.glob("*.yaml") if path.name != "operator-values.yaml")
COMMANDS = [
    line.removeprefix("$ ")
    for block in re.findall(r"```console\n(.*?)\n```", (DEPLOY / "README.md").read_text(), re.S)
    for line in block.splitlines()
]


@pytest.mark.slow
@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)
def test_manifests_are_valid(path):
    found = documents(path.read_text())
    assert found
    for document in found:
        check(document)


def at(document: Any, *keys: Any) -> Any:
    for key in keys:
        document = document[key]
    return document


POD = ("spec", "worker", "spec")
CONTAINER = (*POD, "containers", 0)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "where", "key", "value"),
    [
        ("cluster-pvc.yaml", ("spec",), "idleTimeOut", 3),
        ("cluster-pvc.yaml", ("spec", "worker"), "replica", 3),
        ("cluster-pvc.yaml", ("spec", "worker"), "replicas", "3"),
        ("cluster-pvc.yaml", CONTAINER, "arg", ["dask"]),
        ("cluster-pvc.yaml", CONTAINER, "securityContext", {"runAsNonroot": True}),
        ("cluster-pvc.yaml", (*POD, "volumes", 1, "persistentVolumeClaim"), "claim", "data"),
        ("cluster-s3.yaml", (*CONTAINER, "envFrom", 0), "secretref", {"name": "s3"}),
        ("cluster-gpu.yaml", (*CONTAINER, "resources", "limits"), "nvidia.com/gpu", ["1"]),
        ("cluster-gpu.yaml", ("spec", "scheduler", "service", "ports", 0), "targetport", 1),
        ("job-pvc.yaml", ("spec",), "backofflimit", 3),
        ("job-s3.yaml", ("spec", "template", "spec"), "restartPolicies", "Never"),
        ("network-policy.yaml", ("spec", "ingress", 0), "form", []),
        ("volume.yaml", ("spec",), "accessModes", "ReadWriteMany"),
    ],
)
def test_planted_mistakes_are_caught(name, where, key, value):
    (document,) = documents((DEPLOY / name).read_text())
    check(document)
    at(document, *where)[key] = value
    with pytest.raises((jsonschema.ValidationError, kubernetes_validate.ValidationError)):
        check(document)


@pytest.mark.parametrize("command", [command for command in COMMANDS if command.startswith("dbutterfly cluster ")])
def test_the_clusters_are_what_their_commands_print(command, capsys):
    assert main(shlex.split(command)[1:]) == 0
    assert capsys.readouterr().out in [path.read_text() for path in DEPLOY.glob("cluster-*.yaml")]


@pytest.mark.slow
def test_the_readme_names_what_is_there():
    """The programs are not here: what their commands name is looked up in the directory and the custom resources."""
    kinds = {schema.lower() for schema in custom_validators()}
    for command in COMMANDS:
        program, *words = shlex.split(command)
        assert program in ("kubectl", "helm", "dbutterfly")
        if program == "dbutterfly":
            continue
        assert ("--namespace" in words) or words[:2] == ["create", "namespace"]
        for option, file in itertools.pairwise(words):
            if option in ("--filename", "--values"):
                assert (DEPLOY / file).is_file()
        for word in words:
            if word.startswith("dask") and "/" in word:
                assert word.split("/")[0] in kinds
    applied = {word for command in COMMANDS for word in shlex.split(command) if word.endswith(".yaml")}
    assert applied == {path.name for path in DEPLOY.glob("*.yaml")} - {"cluster-gpu.yaml"}
    assert "helm.dask.org" in next(command for command in COMMANDS if command.startswith("helm"))


def test_worker_groups_can_be_scaled():
    (definition,) = documents(chart("crds", "daskworkergroup.yaml").read_text())
    assert "scale" in definition["spec"]["versions"][0]["subresources"]


def assert_known(values: Any, known: Any, where: str = "") -> None:
    assert isinstance(values, type(known)), where
    if isinstance(values, dict) and known:  # an empty mapping is open
        for key, value in values.items():
            assert key in known, f"{where}.{key}"
            assert_known(value, known[key], f"{where}.{key}")


def test_helm_values_are_those_of_the_chart():
    known = yaml.safe_load(chart("values.yaml").read_text())
    values = yaml.safe_load((DEPLOY / "operator-values.yaml").read_text())
    assert_known(values, known)
    for mistake in ({"rbac": {"clusters": False}}, {"kopfArgs": "--namespace=x"}, {"resource": {}}):
        with pytest.raises(AssertionError):
            assert_known(mistake, known)
    operator = {"name": "operator", "image": "x", "resources": values["resources"], "args": values["kopfArgs"]}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": {"containers": [operator]}}
    check(pod)


def test_jobs_and_clusters_fit_each_other():
    (cluster,) = documents((DEPLOY / "cluster-pvc.yaml").read_text())
    (policy,) = documents((DEPLOY / "network-policy.yaml").read_text())
    selected = policy["spec"]["podSelector"]["matchLabels"]["dask.org/cluster-name"]
    assert cluster["metadata"]["name"] == selected == "dbutterfly"
    for name in ("job-pvc.yaml", "job-s3.yaml"):
        (job,) = documents((DEPLOY / name).read_text())
        pod = job["spec"]["template"]
        assert pod["metadata"]["labels"] in [
            peer["podSelector"]["matchLabels"] for rule in policy["spec"]["ingress"] for peer in rule["from"]
        ]
        (container,) = pod["spec"]["containers"]
        assert job["spec"]["podFailurePolicy"]["rules"][0]["onExitCodes"]["containerName"] == container["name"]
        assert container["args"][container["args"].index("--cluster") + 1] == f"tcp://{selected}-scheduler:8786"


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"gpu": True, "threads": 4, "memory": "32 GiB", "minimum": 1},
        {"claim": "data", "mount": "/m", "secret": "s3", "environment": {"AWS_REGION": "x"}, "dashboard": True},
    ],
)
def test_every_specification_is_valid(options):
    kind = clusters.choose("kubernetes", **options)
    (document,) = documents(kind.text())
    check(copy.deepcopy(document))
    assert document == kind.specification()
    for part in ("worker", "scheduler"):
        (container,) = document["spec"][part]["spec"]["containers"]
        assert {"name": "OMP_NUM_THREADS", "value": "1"} in container["env"]
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
        assert document["spec"][part]["spec"]["securityContext"]["runAsNonRoot"] is True


def test_a_specification_says_what_is_asked_for():
    kind = clusters.choose("kubernetes", workers=5, threads=3, memory="6 GiB", gpu=True, claim="data", secret="s3")
    spec = kind.specification()["spec"]
    (container,) = spec["worker"]["spec"]["containers"]
    assert spec["worker"]["replicas"] == 5
    assert container["resources"]["limits"] == {"cpu": "3", "memory": str(6 << 30), "nvidia.com/gpu": "1"}
    args = " ".join(container["args"])
    assert "--nthreads 3" in args
    assert "--resources GPU=1" in args
    assert {"name": "data", "mountPath": "/data"} in container["volumeMounts"]
    assert container["envFrom"] == [{"secretRef": {"name": "s3"}}]
    scheduler = spec["scheduler"]["spec"]["containers"][0]
    assert "--no-dashboard" in scheduler["args"]
    assert "nvidia.com/gpu" not in scheduler["resources"]["limits"]
    assert kind.expected() == (5, 3, 6 << 30)
    assert kind.resources["GPU"] > 0


def test_variables_of_the_environment_count_more_than_ours_but_for_blas():
    name = "DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED"
    given = {name: "true", "OMP_NUM_THREADS": "8", "AWS_REGION": "x"}
    for environment, profiled in (({}, "False"), (given, "true")):
        spec = clusters.choose("kubernetes", environment=environment).specification()["spec"]
        for part in ("worker", "scheduler"):
            (container,) = spec[part]["spec"]["containers"]
            found = {entry["name"]: entry["value"] for entry in container["env"]}
            assert (found[name], found["OMP_NUM_THREADS"]) == (profiled, "1")
            assert ("AWS_REGION" in found) == (environment is given)


def test_encryption_is_refused():
    with pytest.raises(InputError, match=r"tls='temporary' cannot be had with cluster='kubernetes'.*network-policy"):
        clusters.choose("kubernetes", tls="temporary").check()


def test_fewer_workers_than_the_most():
    with pytest.raises(InputError, match=r"kubernetes\.minimum=3 is more than workers=2"):
        clusters.choose("kubernetes", minimum=3).check()
    assert clusters.choose("kubernetes", minimum=1).specification()["spec"]["worker"]["replicas"] == 1


@pytest.mark.slow
def test_a_machine_without_kubernetes(tmp_path):
    environment = {**os.environ, "KUBECONFIG": str(tmp_path / "none"), "HOME": str(tmp_path)}
    np.save(tmp_path / "z.npy", np.eye(8))
    line = [sys.executable, "-m", "dbutterfly", "factorize", "z.npy", "run.zarr", "--cluster", "kubernetes", "--quiet"]
    done = subprocess.run(
        line, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert done.returncode == 2
    assert re.fullmatch(r"error: cluster='kubernetes' finds no Dask operator: .* see deploy/kubernetes\n", done.stderr)
