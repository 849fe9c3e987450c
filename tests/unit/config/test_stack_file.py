"""The stack file: what a good one means, and that a bad one is told everything at once."""

from __future__ import annotations

from collections.abc import Collection

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gitopsd.config.repopath import repository_path
from gitopsd.config.stackfile import load_stacks
from gitopsd.model.errors import CommitError
from gitopsd.model.spec import (
    DriftMode,
    GateSpec,
    HttpCheck,
    KubernetesComponent,
    OnFailure,
    PruneLimit,
    StackSpec,
)

HEAD = "apiVersion: gitopsd.io/v1alpha1\nkind: Stack\nmetadata: {name: web}\n"


def load(text: str | None, path: str = "", clusters: Collection[str] = ("default", "edge")) -> tuple[StackSpec, ...]:
    data = None if text is None else text.encode()
    return load_stacks(data, file="gitopsd.yaml", source="main", source_path=path, clusters=clusters)


def faults(text: str, path: str = "") -> list[str]:
    with pytest.raises(CommitError) as caught:
        load(text, path)
    assert all(problem.file == "gitopsd.yaml" for problem in caught.value.problems)
    return [str(problem).removeprefix("gitopsd.yaml:") for problem in caught.value.problems]


def test_every_key_reaches_the_stack() -> None:
    (stack,) = load(
        HEAD
        + """spec:
  components:
    - name: base
      kubernetes: {path: k8s/base}
      wave: -10
    - name: web
      kubernetes: {path: ./k8s/web/, namespace: web, cluster: edge}
      dependsOn: [base]
      adopt: [argocd, flux, helm, sealed-secrets]
      gate:
        timeout: 1m30s
        stableFor: 10s
        checks: [{http: {url: "http://web.example/healthz"}}, {http: {url: "https://x", status: 204}}]
  onFailure: hold
  drift: report
  prune: {max: 7}
  approvalTimeout: 30m
""",
        path="team/a",
    )
    assert (stack.name, stack.source, stack.file) == ("web", "main", "gitopsd.yaml")
    assert (stack.on_failure, stack.drift) == (OnFailure.HOLD, DriftMode.REPORT)
    assert (stack.prune, stack.approval_timeout) == (PruneLimit(count=7, percent=None), 1800.0)
    checks = (HttpCheck("http://web.example/healthz", 200), HttpCheck("https://x", 204))
    assert stack.components == (
        KubernetesComponent("base", "team/a/k8s/base", wave=-10, line=6),
        KubernetesComponent(
            "web",
            "team/a/k8s/web",
            cluster="edge",
            namespace="web",
            depends_on=("base",),
            adopt=("argocd", "flux", "helm", "sealed-secrets"),
            gate=GateSpec(90.0, 10.0, checks),
            line=9,
        ),
    )
    assert stack.lines == {"base": 6, "web": 9}


def test_defaults() -> None:
    (stack,) = load(HEAD + "spec: {components: [{name: a, kubernetes: {path: .}}]}\n")
    assert stack.components == (KubernetesComponent("a", "", line=4),)
    assert (stack.on_failure, stack.drift, stack.prune) == (OnFailure.ROLLBACK, DriftMode.HEAL, PruneLimit())


def test_without_a_stack_file_the_source_is_one_stack_of_one_component() -> None:
    assert load(None, "k8s") == (
        StackSpec("main", "main", file="k8s", components=(KubernetesComponent("main", "k8s"),)),
    )
    assert load(None)[0].file == "."


def test_without_a_stack_file_there_has_to_be_the_default_cluster() -> None:
    with pytest.raises(CommitError, match=r"which this host has not .*names one of: edge"):
        load(None, clusters=("edge",))


def test_several_documents_are_several_stacks() -> None:
    one = HEAD + "spec: {components: [{name: a, kubernetes: {path: a}}]}\n"
    two = one.replace("name: web", "name: api").replace("path: a", "path: b")
    assert [stack.name for stack in load(f"{one}---\n{two}")] == ["web", "api"]


def test_the_section_is_the_same_whatever_order_and_comments() -> None:
    a = load(HEAD + "spec: {drift: heal, components: [{name: a, kubernetes: {path: a}}]}\n")
    other = """# note
kind: Stack
metadata:
  name: web
spec:
  components:
    - {kubernetes: {path: a}, name: a}
  drift: heal
apiVersion: gitopsd.io/v1alpha1
"""
    b = load(other)
    c = load(HEAD + "spec: {drift: report, components: [{name: a, kubernetes: {path: a}}]}\n")
    assert a[0].section == b[0].section != c[0].section


BAD = """
apiVersion: gitopsd.io/v1
kind: Stack
metadata: {name: Web_Site}
spec:
  components:
    - name: a
      kubernets: {path: x}
      dependsOn: [b]
    - name: b
      kubernetes: {path: ../x, cluster: defalt}
      dependsOn: [a, c, b]
      gate: {timeout: 5, stableFor: 10m, check: []}
      adopt: [argo]
      wave: "1"
    - name: b
      terraform: {path: infra, varFile: [x]}
    - name: t
      terraform: {path: infra, workspace: w, varFiles: [a], varsFrom: [{sealedSecret: s}], stateKey: k}
      approval: destroy
      values: {host: {terraform: network.db}}
    - {name: u, kubernetes: {path: /abs}}
    - {name: v, wave: 3000000000, gate: {timeout: 5s, stableFor: 5s, checks: [{http: {url: x}}]}}
  onFailure: rolback
  prune: {max: 120%}
  window: {allow: x}
---
apiVersion: gitopsd.io/v1alpha1
kind: Stack
metadata: {name: two}
spec:
  components: []
---
apiVersion: gitopsd.io/v1alpha1
kind: Stack
metadata: {name: two}
spec:
  components:
    - {name: x, kubernetes: {path: p}}
    - {name: x2, kubernetes: {path: ./p/}}
    - {name: z, kubernetes: {path: p, namespace: other}}
    - {name: w}
"""


def test_every_fault_is_told_at_once_with_its_line() -> None:
    assert faults(BAD) == [
        "2: apiVersion: expected gitopsd.io/v1alpha1",
        "4: metadata.name: expected a DNS label: at most 63 lower-case letters, digits and hyphens, as in my-name",
        "8: spec.components[0].kubernets: unknown key (did you mean kubernetes?)",
        "9: spec.components[0].dependsOn: these components depend on each other in a circle: a -> b -> a",
        "11: spec.components[1].kubernetes.cluster: this host knows no cluster 'defalt' (did you mean default?)",
        "11: spec.components[1].kubernetes.path: this path leaves the repository",
        "12: spec.components[1].dependsOn[1]: this stack has no component 'c' (known here: a, b, t, u, v)",
        "12: spec.components[1].dependsOn[2]: a component cannot depend on itself",
        "13: spec.components[1].gate.check: unknown key (did you mean checks?)",
        "13: spec.components[1].gate.timeout: expected a duration with its unit, as in 60s, 5m or 1h30m",
        "14: spec.components[1].adopt[0]: expected argocd, flux, helm or sealed-secrets",
        "15: spec.components[1].wave: expected a whole number, found text",
        "16: spec.components[2].name: the name 'b' is already taken on line 10",
        "17: spec.components[2].terraform.varFile: unknown key (did you mean varFiles?)",
        "19: spec.components[3].terraform: not supported yet",
        "20: spec.components[3].approval: not supported yet",
        "21: spec.components[3].values: not supported yet",
        "22: spec.components[4].kubernetes.path: expected a path inside the repository, not an absolute one",
        "23: spec.components[5].gate.checks[0].http.url: expected an http or https URL",
        "23: spec.components[5].wave: has to be at most 2147483647",
        "24: spec.onFailure: expected rollback or hold",
        "25: spec.prune.max: expected a number of objects or a percentage up to 100%, as in 10 or 20%",
        "26: spec.window: not supported yet",
        "32: spec.components: may not be empty",
        "36: metadata.name: the stack 'two' is already described on line 30",
        "40: spec.components[1].kubernetes.path: "
        "the component on line 39 delivers the same directory to the same cluster",
        "42: spec.components[3]: a component needs kubernetes with a path",
    ]


def test_a_gate_that_can_never_be_passed_is_refused() -> None:
    text = HEAD + "spec: {components: [{name: a, kubernetes: {path: a}, gate: {timeout: 5s, stableFor: 5s}}]}\n"
    assert faults(text) == [
        "4: spec.components[0].gate: stableFor has to be shorter than timeout, or the gate can never be passed"
    ]


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n---\n"])
def test_an_empty_stack_file_is_no_stack(text: str) -> None:
    (fault,) = faults(text)
    assert "the stack file has no stack" in fault


@pytest.mark.parametrize("text", ["- a\n", "text\n", "1\n", "spec: 1\n", "spec: {components: 1}\n", "metadata: []\n"])
def test_a_document_of_any_shape_is_told_what_it_lacks(text: str) -> None:
    assert faults(text)


def test_broken_yaml_is_told_at_its_line() -> None:
    assert faults(HEAD + "spec:\n  a: 1\n  a: 2\n") == ["6: spec.a: this key is already set on line 5"]


@pytest.mark.parametrize(
    ("text", "limit"),
    [("0", PruneLimit(0, None)), ("20%", PruneLimit(None, 20.0)), ("'2.5%'", PruneLimit(None, 2.5))],
)
def test_prune_limits(text: str, limit: PruneLimit) -> None:
    (stack,) = load(HEAD + f"spec: {{prune: {{max: {text}}}, components: [{{name: a, kubernetes: {{path: a}}}}]}}\n")
    assert stack.prune == limit


@pytest.mark.parametrize("text", ["-1", "true", "1.5", "x%", "'%'", "[1]"])
def test_what_is_no_prune_limit_is_refused(text: str) -> None:
    (fault,) = faults(HEAD + f"spec: {{prune: {{max: {text}}}, components: [{{name: a, kubernetes: {{path: a}}}}]}}\n")
    assert "spec.prune.max" in fault


@pytest.mark.parametrize(
    ("path", "base", "expected"),
    [
        (".", "", ""),
        ("./a//b/", "", "a/b"),
        ("../b", "a", "b"),
        (".", "a/b", "a/b"),
        ("a/../b", "", "b"),
        ("..", "a", ""),
    ],
)
def test_paths_become_relative_to_the_repository(path: str, base: str, expected: str) -> None:
    assert repository_path(path, base) == expected


@given(st.lists(st.sampled_from(["a", "b", ".", "..", ""]), max_size=6), st.sampled_from(["", "x", "x/y"]))
def test_no_path_leaves_the_repository(parts: list[str], base: str) -> None:
    try:
        found = repository_path("/".join(parts), base)
    except ValueError:
        return
    assert not {"..", "."} & set(found.split("/"))
    assert not found.startswith("/")
