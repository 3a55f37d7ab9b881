"""Checks of Kubernetes manifests without a cluster: by the schemas of Kubernetes, and by the operator's own CRDs."""

from __future__ import annotations

import functools
import warnings
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from tests.support.parts import require

jsonschema = require("jsonschema", "test-kubernetes")
kubernetes_validate = require("kubernetes_validate", "test-kubernetes")

CHART = "operator/deployment/helm/dask-kubernetes-operator"
VERSION = "1.33"
"""Of Kubernetes."""


def documents(text: str) -> list[dict[str, Any]]:
    """Objects of a manifest."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return [document for document in yaml.load_all(text, loader) if document is not None]


def check(document: dict[str, Any]) -> None:
    """Refuse an object with unknown fields or values of wrong types.

    A DaskCluster is checked by its CRD, and its pods by the schemas of Kubernetes too.
    """
    if document["apiVersion"].startswith("kubernetes.dask.org/"):
        custom_validators()[document["kind"]].validate(document)
        for part in ("worker", "scheduler"):
            pod = {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": part},
                "spec": document["spec"][part]["spec"],
            }
            check(pod)
        service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "scheduler"}}
        document = service | {"spec": document["spec"]["scheduler"]["service"]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        kubernetes_validate.validate(document, VERSION, strict=True)


def chart(*names: str) -> Path:
    """A file of the chart that comes with the package dask-kubernetes."""
    return Path(str(resources.files("dask_kubernetes"))).joinpath(CHART, *names)


@functools.cache
def custom_validators() -> dict[str, Any]:
    """Strict validators of the operator's custom resources, by kind."""
    validators = {}
    for path in sorted(chart("crds").glob("*.yaml")):
        for document in documents(path.read_text()):
            for version in document["spec"]["versions"]:
                schema = _strict(version["schema"]["openAPIV3Schema"])
                schema["properties"] |= {
                    "metadata": {"type": "object"},
                    "apiVersion": {"type": "string"},
                    "kind": {"type": "string"},
                }
                kind = jsonschema.validators.validator_for(schema)
                kind.check_schema(schema)
                validators[document["spec"]["names"]["kind"]] = kind(schema)
    return validators


def _strict(schema: Any) -> Any:
    """Refuse what the schema does not name, as an API server with strict field validation does."""
    if isinstance(schema, dict):
        is_open = schema.get("x-kubernetes-preserve-unknown-fields")
        if schema.get("type") == "object" and "properties" in schema and not is_open:
            schema.setdefault("additionalProperties", False)
        for value in schema.values():
            _strict(value)
    elif isinstance(schema, list):
        for value in schema:
            _strict(value)
    return schema
