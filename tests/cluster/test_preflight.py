"""What planning takes a real API server's answers for: nothing written, nothing missed, nothing planned twice."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from gitopsd.cluster import ClusterSettings, KubernetesCluster, connect
from gitopsd.execution.preflight import preflight
from gitopsd.kinds.marks import applyset_id, parent_name
from gitopsd.model.errors import CommitError, EnvironmentFault
from gitopsd.model.ids import UnitId
from gitopsd.model.live import Accepted
from gitopsd.model.memory import Memory, StackState
from gitopsd.model.plan import Action, Plan
from gitopsd.model.spec import KubernetesComponent, StackSpec
from gitopsd.model.units import Desired, Document, Origin, Person, Revision
from gitopsd.planning.assemble import assemble
from gitopsd.planning.resolve import resolve
from gitopsd.planning.select import select
from sandbox import Cluster

ADA = Person("Ada", "ada@example.org")
REVISION = Revision("c" * 40, ADA, ADA, "2026-01-01T00:00:00Z", "change")
ATTEMPTS = 50


class Planner:
    """Plans against one cluster, with an inventory that knows nothing: every unit is looked at."""

    def __init__(self, kube: KubernetesCluster, namespace: str) -> None:
        self.kube, self.namespace = kube, namespace
        self.spec = StackSpec(
            f"s-{namespace}", "main", "gitopsd.yaml", (KubernetesComponent("app", "k8s", namespace=namespace),)
        )
        self.applysets = {"default": applyset_id(parent_name(self.spec.name), "gitopsd-system")}

    def desired(self, text: str) -> Desired:
        bodies = [d for d in yaml.safe_load_all(text.replace("NAMESPACE", self.namespace)) if d]
        documents = [Document("app", body, Origin("all.yaml", n)) for n, body in enumerate(bodies, 1)]
        return resolve(self.spec, REVISION, "d", documents, {"default": self.kube.catalog(refresh=True)})

    def plan(self, text: str) -> Plan:
        wanted = self.desired(text)
        state = StackState(Memory(self.spec.name, "test", "main"))
        chosen = select(wanted, {}, state)
        findings = preflight({"default": self.kube}, self.spec, wanted, chosen.apply, self.applysets)
        return assemble(
            self.spec, wanted, chosen, findings, {}, state, removals_live={}, claims={}, applysets=self.applysets
        )

    def carry_out(self, text: str) -> Plan:
        """Plan, and send what was planned layer by layer, waiting for what a later layer needs."""
        wanted, plan = self.desired(text), self.plan(text)
        for change in plan.applies():
            unit = wanted.units[change.unit]
            for _ in range(ATTEMPTS):
                sent = preflight(
                    {"default": self.kube}, self.spec, wanted, [self._candidate(wanted, unit.id)], self.applysets
                )
                if isinstance(sent[unit.id].dry_run, Accepted):
                    break
                time.sleep(0.1)
            answer = self.kube.apply(unit.id, sent[unit.id].sent)
            assert isinstance(answer, Accepted), answer
        return plan

    @staticmethod
    def _candidate(wanted: Desired, unit: UnitId) -> Any:
        return next(c for c in select(wanted, {}, StackState(Memory("x", "test", "main"))).apply if c.unit.id == unit)


@pytest.fixture
def planner(cluster: Cluster, namespace: str) -> Iterator[Planner]:
    kube = connect(ClusterSettings("default", cluster.kubeconfig))
    yield Planner(kube, namespace)
    kube.close()


def refused(planner: Planner, text: str, error: type[Exception] = CommitError) -> str:
    with pytest.raises(error) as found:
        planner.plan(text)
    return str(found.value)


EVERYTHING = """
{apiVersion: v1, kind: Namespace, metadata: {name: NAMESPACE-more}}
---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.NAMESPACE.example.org}
spec:
  group: NAMESPACE.example.org
  scope: Namespaced
  names: {kind: Widget, plural: widgets}
  versions:
  - name: v1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, properties: {spec: {type: object, properties: {size: {type: integer}}}}}}
---
{apiVersion: NAMESPACE.example.org/v1, kind: Widget, metadata: {name: w}, spec: {size: 1}}
---
{apiVersion: v1, kind: ConfigMap, metadata: {name: c, namespace: NAMESPACE-more}, data: {a: "1"}}
---
{apiVersion: v1, kind: Secret, metadata: {name: s}, stringData: {password: hunter2}}
---
{apiVersion: v1, kind: ServiceAccount, metadata: {name: runner}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: api}
spec:
  replicas: 2
  selector: {matchLabels: {app: api}}
  template:
    metadata: {labels: {app: api}}
    spec:
      serviceAccountName: runner
      containers: [{name: main, image: "example.org/api:1", resources: {requests: {cpu: 1000m}}}]
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: api}
spec: {maxReplicas: 5, scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: api}}
---
apiVersion: v1
kind: Service
metadata: {name: api}
spec: {selector: {app: api}, ports: [{port: 80}]}
"""


def test_what_was_applied_is_not_planned_again_and_what_depends_on_it_is_known_after_apply(planner: Planner) -> None:
    first = planner.carry_out(EVERYTHING)
    assert {c.action for c in first.changes()} == {Action.CREATE}
    definition = f"CustomResourceDefinition.apiextensions.k8s.io/widgets.{planner.namespace}.example.org"
    assert {c.unit.kind: c.deferred for c in first.changes() if c.deferred} == {
        "Widget": f"known after apply of {definition}",
        "ConfigMap": f"known after apply of Namespace/{planner.namespace}-more",
    }
    assert "hunter2" not in repr(first)
    again = planner.plan(EVERYTHING)
    assert again.empty, [(str(c.unit), c.diff) for c in again.changes()]
    assert set(again.equal) == set(planner.desired(EVERYTHING).units)


def test_a_scaled_deployment_of_an_autoscaler_is_left_alone(planner: Planner, cluster: Cluster) -> None:
    planner.carry_out(EVERYTHING)
    cluster.kubectl("scale", "deployment/api", "--replicas=4", "-n", planner.namespace)
    assert planner.plan(EVERYTHING).empty


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("{ports: [{port: 80, colour: red}]}", "colour"),
        ("{ports: [{port: 99999}]}", "99999"),
    ],
)
def test_mistakes_are_found_although_the_namespace_does_not_exist_yet(planner: Planner, spec: str, words: str) -> None:
    text = refused(
        planner,
        "{apiVersion: v1, kind: Namespace, metadata: {name: NAMESPACE-new}}\n---\n"
        "{apiVersion: v1, kind: Service, metadata: {name: api, namespace: NAMESPACE-new}, spec: " + spec + "}",
    )
    assert text.startswith("all.yaml:2: Service/")
    assert words in text


def test_a_namespace_and_a_kind_that_nobody_brings_block(planner: Planner) -> None:
    body = "{apiVersion: v1, kind: ConfigMap, metadata: {name: c, namespace: NAMESPACE-nobody}}"
    assert "-nobody does not exist" in refused(planner, body, EnvironmentFault)
    body = "{apiVersion: nobody.example.org/v1, kind: Odd, metadata: {name: o}}"
    assert "serves no Kind Odd" in refused(planner, body, EnvironmentFault)


WORKLOAD = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: api}
spec:
  selector: {matchLabels: {app: api}}
  template:
    metadata: {labels: {app: api}}
    spec: {MORE, containers: [{name: main, image: "example.org/api:1"}]}
"""


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ("serviceAccountName: ghost", "add ServiceAccount ghost"),
        ("priorityClassName: ghost", "add PriorityClass ghost"),
        ("hostNetwork: true", "securityContext"),
    ],
)
def test_pods_that_would_never_be_admitted_are_found(planner: Planner, cluster: Cluster, more: str, words: str) -> None:
    label = "pod-security.kubernetes.io/enforce=baseline"
    cluster.kubectl("label", "namespace", planner.namespace, label)
    text = refused(planner, WORKLOAD.replace("MORE", more))
    assert "Deployment.apps/" in text
    assert words in text


def test_a_full_quota_is_a_warning(planner: Planner, cluster: Cluster) -> None:
    cluster.kubectl("create", "quota", "none", "--hard=pods=0", "-n", planner.namespace)
    more = "terminationGracePeriodSeconds: 1"
    for _ in range(ATTEMPTS):  # a quota counts only once its controller has seen it
        (change,) = planner.plan(WORKLOAD.replace("MORE", more)).changes()
        if change.warnings:
            break
        time.sleep(0.1)
    assert "quota" in change.warnings[0]


def test_an_immutable_field_is_an_error_or_by_leave_a_recreation(planner: Planner) -> None:
    body = WORKLOAD.replace("MORE", "terminationGracePeriodSeconds: 1")
    planner.carry_out(body)
    other = body.replace("app: api", "app: other")
    assert "gitopsd.io/recreate" in refused(planner, other)
    allowed = other.replace("{name: api}", '{name: api, annotations: {gitopsd.io/recreate: "true"}}')
    (change,) = planner.plan(allowed).changes()
    assert change.action is Action.RECREATE
    assert change.live_uid


def test_an_object_of_somebody_else_is_adopted_only_if_it_is_nobodys(planner: Planner, cluster: Cluster) -> None:
    body = "{apiVersion: v1, kind: ConfigMap, metadata: {name: c}, data: {a: '1'}}"
    cluster.kubectl("create", "configmap", "c", "--from-literal=a=0", "-n", planner.namespace)
    (change,) = planner.plan(body).changes()
    assert (change.action, [f.path for f in change.diff]) == (Action.ADOPT, ["data.a"])
    assert change.overrides
    cluster.kubectl("label", "configmap/c", "app.kubernetes.io/managed-by=Helm", "-n", planner.namespace)
    cluster.kubectl("annotate", "configmap/c", "meta.helm.sh/release-name=shop", "-n", planner.namespace)
    assert "adopt: [helm]" in refused(planner, body, EnvironmentFault)
