"""The real sealed-secrets controller beside a sandbox: what a team has before it comes, and the judge of our files.

It only knows the configuration of a pod. So it gets a mount namespace of its own in which the files of a service
account are where a pod has them; nothing of that is seen outside, and nothing is left when the process ends.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from sandbox import Cluster, tool
from tests.support.world import wait_until

KEY_LABEL = "sealedsecrets.bitnami.com/sealed-secrets-key"
DEFINITION = "sealedsecrets.bitnami.com"

_IN_ITS_OWN = """\
set -e
mount -t tmpfs -o mode=0755 tmpfs /run
here=/run/secrets/kubernetes.io/serviceaccount
mkdir -p "$here"
[ "$(readlink -f /var/run)" = /run ] || mount --bind /run /var/run
cp "$1" "$here/ca.crt"
printf %s "$TOKEN" > "$here/token"
unset TOKEN
shift
exec "$@"
"""

CRD: dict[str, Any] = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": DEFINITION},
    "spec": {
        "group": "bitnami.com",
        "names": {
            "kind": "SealedSecret",
            "listKind": "SealedSecretList",
            "plural": "sealedsecrets",
            "singular": "sealedsecret",
        },
        "scope": "Namespaced",
        "versions": [
            {
                "name": "v1alpha1",
                "served": True,
                "storage": True,
                "subresources": {"status": {}},
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "properties": {
                            "spec": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                            "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                        },
                    }
                },
            }
        ],
    },
}


class SealedController:
    """One running controller. Its keys are Secrets in `namespace`."""

    def __init__(self, cluster: Cluster, namespace: str, directory: Path) -> None:
        self.cluster, self.namespace, self.log = cluster, namespace, directory / "sealed-secrets-controller.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Define its kind, start it, and wait until it has a key and serves."""
        self.cluster.kubectl("apply", "-f", "-", input=json.dumps(CRD))
        self.cluster.kubectl("wait", "--for=condition=Established", f"crd/{DEFINITION}", "--timeout=60s")
        address = urlsplit(self.cluster.server)
        command = [
            *("unshare", "--mount", "--propagation", "private"),
            *("sh", "-c", _IN_ITS_OWN, "sh", str(self.cluster.certificate_authority)),
            *(str(tool("sealed-secrets-controller")), "--key-size=2048", "--key-renew-period=0"),
            *("--kubeclient-qps=200", "--kubeclient-burst=200"),
            *("--listen-addr=127.0.0.1:0", "--listen-metrics-addr=127.0.0.1:0"),
        ]
        environment = {
            "PATH": os.environ["PATH"],
            "TOKEN": self.cluster.admin_token,
            "KUBERNETES_SERVICE_HOST": str(address.hostname),
            "KUBERNETES_SERVICE_PORT": str(address.port),
            "POD_NAMESPACE": self.namespace,
        }
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        wait_until(self._ready, f"the controller serves; its log is {self.log}")

    def stop(self) -> None:
        """End the process; its objects stay."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(10)
        self._process = None

    def remove(self) -> None:
        """End it and take away its kind, so that the cluster is as it was."""
        self.stop()
        self.cluster.kubectl("delete", "crd", DEFINITION, "--ignore-not-found", "--timeout=60s")

    def certificate(self, file: Path) -> Path:
        """What people seal for."""
        text = self.cluster.kubectl(
            *("get", "secret", "-n", self.namespace, "-l", KEY_LABEL),
            *("-o", 'go-template={{range .items}}{{index .data "tls.crt" | base64decode}}{{end}}'),
        )
        file.write_text(text)
        return file

    def exported_keys(self) -> str:
        """What its documentation has people keep."""
        return self.cluster.kubectl("get", "secret", "-n", self.namespace, "-l", KEY_LABEL, "-o", "yaml")

    def _ready(self) -> bool:
        process = self._process
        assert process is not None
        if process.poll() is not None:
            pytest.fail(f"the controller ended with {process.returncode}:\n{self.log.read_text()}")
        return "HTTP server serving" in self.log.read_text() and KEY_LABEL in self.exported_keys()


def why_not() -> str:
    """Why this host cannot run it; "" if it can."""
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        return "the sealed-secrets controller needs root and unshare(1) for a mount namespace of its own"
    tried = subprocess.run(
        ["unshare", "--mount", "--propagation", "private", "mount", "-t", "tmpfs", "tmpfs", "/run"],
        capture_output=True,
        text=True,
        check=False,
    )
    said = tried.stderr.strip()
    return f"no mount namespace for the sealed-secrets controller: {said}" if tried.returncode else ""


@contextmanager
def sealed_controller(cluster: Cluster, namespace: str, directory: Path) -> Iterator[SealedController]:
    """A controller until the end of the block; skips the test where there cannot be one."""
    reason = why_not()
    if reason:
        pytest.skip(reason)
    controller = SealedController(cluster, namespace, directory)
    try:
        controller.start()
        yield controller
    finally:
        controller.remove()
