"""Pods of a Kubernetes cluster, which the Dask operator looks after.

The pods run as an ordinary user, without privileges. The operator asks schedulers by HTTP how many workers they want:
the scheduler's HTTP port is open inside of the cluster. The dashboard is on that port only if it is asked for.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import yaml

from ...errors import InputError
from .launched import ONE_BLAS_THREAD, Managed
from .options import duration, flag, mapping, option, text

if TYPE_CHECKING:
    from distributed.security import Security

__all__ = ["Kubernetes"]

USER = 1000
"""Number of the user as which the pods run: that of the images in ``deploy/docker``."""

SCHEDULER_MEMORY = 2 << 30
"""Bytes of the scheduler's pod.

Not tuned: over 16000 tiles, client and scheduler together grow by 70 MiB (``python -m benchmarks scheduler``).
"""

PORT = 8786
"""Port of the scheduler: Dask's default."""

DASHBOARD = 8787
"""Port of the scheduler's HTTP, with the dashboard or without: Dask's default."""


@dataclass(frozen=True, kw_only=True)
class Kubernetes(Managed):
    """Workers in pods, by ``dask_kubernetes.operator.KubeCluster``.

    Attributes
    ----------
    cluster_name, namespace, image, claim, mount, secret, environment : str
        See ``dbutterfly.yaml``.
    dashboard : bool
        Whether there are pages on the scheduler's HTTP port, for all that reach its pod.
    idle : float
        Seconds after which the operator removes the cluster if nobody uses it.
    """

    name: ClassVar[str] = "kubernetes"
    module: ClassVar[str] = "dask_kubernetes.operator"
    class_name: ClassVar[str] = "KubeCluster"
    extra: ClassVar[str | None] = "kubernetes"

    cluster_name: str = option(text)
    namespace: str | None = option(text, optional=True)
    image: str = option(text)
    claim: str | None = option(text, optional=True)
    mount: str = option(text)
    secret: str | None = option(text, optional=True)
    environment: dict[str, str] = option(mapping)
    dashboard: bool = option(flag)
    idle: float = option(duration)

    def check(self) -> None:
        """See that the package can be imported, that the options fit each other, and that an operator is there.

        Raises
        ------
        InputError
            If not.
        """
        super().check()
        if self.tls is not None:
            raise InputError(
                f"tls={self.tls!r} cannot be had with cluster='kubernetes': the Dask operator speaks to schedulers "
                "without it. Close the namespace with deploy/kubernetes/network-policy.yaml, or encrypt pod traffic "
                "by the network of the cluster"
            )
        self._find_operator()

    def _find_operator(self) -> None:
        kr8s = importlib.import_module("kr8s")  # the client of Kubernetes on which dask-kubernetes is built
        try:
            kr8s.api(namespace=self.namespace).lookup_kind("DaskCluster")
        except Exception as error:
            raise InputError(
                f"cluster='kubernetes' finds no Dask operator: {type(error).__name__}: {error}; run it where kubectl "
                "works, and install the operator: see deploy/kubernetes"
            ) from error

    def keywords(self, security: Security | None) -> dict[str, Any]:  # noqa: ARG002
        """See :meth:`Launched.keywords`."""
        return {
            "custom_cluster_spec": self.specification(),
            "namespace": self.namespace,
            "shutdown_on_close": True,
            "resource_timeout": int(self.wait),
            "quiet": True,
        }

    def text(self) -> str:
        """The resource DaskCluster, as YAML."""
        body: str = yaml.safe_dump(self.specification(), sort_keys=False, default_flow_style=False)
        return body

    def specification(self) -> dict[str, Any]:
        """The resource DaskCluster that the operator is given."""
        return {
            "apiVersion": "kubernetes.dask.org/v1",
            "kind": "DaskCluster",
            "metadata": {"name": self.cluster_name},
            "spec": {
                "idleTimeout": int(self.idle),
                "worker": {"replicas": self.fewest, "spec": self._pod(self._worker())},
                "scheduler": {"spec": self._pod(self._scheduler()), "service": self._service()},
            },
        }

    def scale(self, cluster: Any) -> None:
        """Let the operator scale, if the number of workers may change."""
        if self.fewest < self.workers:
            cluster.adapt(minimum=self.fewest, maximum=self.workers)

    def complaint(self) -> str:
        """Command that describes the pods."""
        namespace = "" if self.namespace is None else f" --namespace {self.namespace}"
        return f"; see kubectl describe pods{namespace} --selector dask.org/cluster-name={self.cluster_name}"

    def _pod(self, container: dict[str, Any]) -> dict[str, Any]:
        pod: dict[str, Any] = {
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": USER,
                "fsGroup": USER,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "automountServiceAccountToken": False,
            "containers": [container],
        }
        volumes = [{"name": "spill", "emptyDir": {}}]
        if self.claim is not None:
            volumes.append({"name": "data", "persistentVolumeClaim": {"claimName": self.claim}})
        return pod | {"volumes": volumes}

    def _container(self, name: str, args: list[str], resources: dict[str, str]) -> dict[str, Any]:
        mounts = [{"name": "spill", "mountPath": "/tmp"}]
        if self.claim is not None:
            mounts.append({"name": "data", "mountPath": self.mount})
        variables = {**self.variables, **self.environment, **ONE_BLAS_THREAD}
        container: dict[str, Any] = {
            "name": name,
            "image": self.image,
            "args": args,
            "env": [{"name": key, "value": value} for key, value in variables.items()],
            "resources": {"requests": dict(resources), "limits": dict(resources)},
            "volumeMounts": mounts,
            "securityContext": {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            },
        }
        if self.secret is not None:
            container["envFrom"] = [{"secretRef": {"name": self.secret}}]
        return container

    def _worker(self) -> dict[str, Any]:
        resources = {"cpu": str(self.threads), "memory": str(self.memory)}
        args = [
            *("dask", "worker", "--name", "$(DASK_WORKER_NAME)", "--nthreads", str(self.threads)),
            *("--memory-limit", str(self.memory), "--local-directory", "/tmp"),
            *("--dashboard-address", "127.0.0.1:0"),
        ]
        if self.gpu:
            resources["nvidia.com/gpu"] = "1"
            args += ["--resources", "GPU=1"]
        return self._container("worker", args, resources)

    def _scheduler(self) -> dict[str, Any]:
        pages = ["--dashboard-address", f":{DASHBOARD}"] if self.dashboard else ["--no-dashboard"]
        args = ["dask", "scheduler", "--host", "0.0.0.0", "--port", str(PORT), *pages]
        container = self._container("scheduler", args, {"cpu": "1", "memory": str(SCHEDULER_MEMORY)})
        return container | {
            "ports": [
                {"name": "tcp-comm", "containerPort": PORT, "protocol": "TCP"},
                {"name": "http-dashboard", "containerPort": DASHBOARD, "protocol": "TCP"},
            ],
            "readinessProbe": {"tcpSocket": {"port": "tcp-comm"}, "periodSeconds": 2},
            "livenessProbe": {"tcpSocket": {"port": "tcp-comm"}, "initialDelaySeconds": 15, "periodSeconds": 20},
        }

    def _service(self) -> dict[str, Any]:
        return {
            "type": "ClusterIP",
            "selector": {"dask.org/cluster-name": self.cluster_name, "dask.org/component": "scheduler"},
            "ports": [
                {"name": "tcp-comm", "protocol": "TCP", "port": PORT, "targetPort": "tcp-comm"},
                {"name": "http-dashboard", "protocol": "TCP", "port": DASHBOARD, "targetPort": "http-dashboard"},
            ],
        }
