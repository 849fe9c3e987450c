"""The stack file: what a good one means, and that a bad one is told everything at once."""

from __future__ import annotations

from collections.abc import Collection

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gitopsd.config.repopath import repository_path
from gitopsd.config.stackfile import load_stacks
from gitopsd.model.errors import CommitError
from gitopsd.model.modules import OutputRef
from gitopsd.model.spec import (
    ApprovalMode,
    DriftMode,
    GateSpec,
    HttpCheck,
    KubernetesComponent,
    OnFailure,
    PruneLimit,
    StackSpec,
    TerraformComponent,
    Variable,
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
      terraform: {path: infra, workspace: w, varFiles: [a], varsFrom: [{sealedSecret: ../s}], stateKey: k}
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
        "19: spec.components[3].terraform.varsFrom[0].sealedSecret: this path leaves the repository",
        "21: spec.components[3].values: this key is only for components with kubernetes",
        "21: spec.components[3].values.host.terraform: this stack has no component 'network' "
        "(known here: a, b, t, u, v)",
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
        "42: spec.components[3]: a component needs kubernetes or terraform, with a path",
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


# ---------------------------------------------------------------- Terraform


def components(*lines: str) -> str:
    """A stack with these components, the first of them on line 6."""
    return HEAD + "spec:\n  components:\n" + "".join(f"    - {line}\n" for line in lines)


NETWORK = "{name: network, terraform: {path: infra/network}}"


def test_every_key_of_a_terraform_component_reaches_the_stack() -> None:
    (stack,) = load(
        HEAD
        + """spec:
  components:
    - name: network
      terraform: {path: ./infra/network/}
    - name: database
      terraform:
        path: infra/database
        workspace: prod
        varFiles: [prod.tfvars, ../shared/common.tfvars]
        varsFrom:
          - {terraform: network.subnet-ids}
          - {terraform: network.vpc, as: vpc_id}
        stateKey: db
      wave: 5
      dependsOn: [network]
      approval: never
      gate: {timeout: 1m, checks: [{http: {url: "https://x"}}]}
    - name: web
      kubernetes: {path: k8s}
      wave: 10
      values: {dbHost: {terraform: database.host}, _x: {terraform: network.vpc}}
""",
        path="team/a",
    )
    assert stack.components == (
        TerraformComponent("network", "team/a/infra/network", state_key="network", line=6),
        TerraformComponent(
            "database",
            "team/a/infra/database",
            workspace="prod",
            var_files=("team/a/infra/database/prod.tfvars", "team/a/infra/shared/common.tfvars"),
            variables=(
                Variable("subnet-ids", OutputRef("network", "subnet-ids")),
                Variable("vpc_id", OutputRef("network", "vpc")),
            ),
            state_key="db",
            wave=5,
            depends_on=("network",),
            approval=ApprovalMode.NEVER,
            gate=GateSpec(60.0, checks=(HttpCheck("https://x"),)),
            line=8,
        ),
        KubernetesComponent(
            "web",
            "team/a/k8s",
            wave=10,
            line=21,
            values={"dbHost": OutputRef("database", "host"), "_x": OutputRef("network", "vpc")},
        ),
    )
    assert stack.components[2].after == ("database", "network")
    assert stack.clusters == ("default",)


def test_a_host_without_clusters_of_its_own_name_may_have_terraform_alone() -> None:
    (stack,) = load(components(NETWORK), clusters=())
    assert stack.terraform[0].approval is ApprovalMode.DESTROY
    assert not stack.clusters


BAD_TERRAFORM = components(
    NETWORK,
    "{name: a, terraform: {path: a, varsFrom: [{terraform: netwrk.x}, {terraform: k.y}, {terraform: a.z}]}}",
    "{name: b, terraform: {path: b, varsFrom: [{terraform: late.x}]}, values: {v: {terraform: network.x}}}",
    "{name: late, terraform: {path: late}, wave: 1, adopt: [helm]}",
    "{name: k, kubernetes: {path: k}, approval: always, values: {h: {terraform: networks.x}, i: {terraform: k.x}}}",
    "{name: c, terraform: {path: c, varsFrom: [{terraform: network.x}, {terraform: network.y, as: x}]}}",
    "{name: both, terraform: {path: both}, kubernetes: {path: both}, values: {}, approval: always}",
    "{name: d, terraform: {path: ../d, varFiles: [x]}}",
    "{name: e, terraform: {path: e, varFiles: [../../x, /y, ok]}}",
    "{name: f, terraform: {path: f, stateKey: network}}",
    "{name: g, terraform: {path: ./infra/network}}",
    "{name: h, terraform: {path: infra/network, stateKey: other}}",
    "{name: i, terraform: {path: infra/network, workspace: blue}}",
    "{name: j, terraform: {path: f, stateKey: network, workspace: blue}}",
)


def test_every_fault_between_components_is_told_at_once_with_its_line() -> None:
    assert faults(BAD_TERRAFORM) == [
        "7: spec.components[1].terraform.varsFrom[0].terraform: this stack has no component 'netwrk' "
        "(did you mean network?)",
        "7: spec.components[1].terraform.varsFrom[1].terraform: the component 'k' is no Terraform module: "
        "it has no outputs (known here: a, b, both, c, d, e, f, g, h, i, j, late, network)",
        "7: spec.components[1].terraform.varsFrom[2].terraform: a component cannot use its own outputs",
        "8: spec.components[2].terraform.varsFrom[0].terraform: the component 'late' comes later (wave 1) "
        "than this one (wave 0) (raise this wave, or lower the other's)",
        "8: spec.components[2].values: this key is only for components with kubernetes",
        "9: spec.components[3].adopt: this key is only for components with kubernetes",
        "10: spec.components[4].approval: this key is only for components with terraform",
        "10: spec.components[4].values.h.terraform: this stack has no component 'networks' (did you mean network?)",
        "10: spec.components[4].values.i.terraform: a component cannot use its own outputs",
        "11: spec.components[5].terraform.varsFrom[1]: the variable 'x' is already set on line 11 "
        "(name the variable with as)",
        "12: spec.components[6].terraform: a component has either kubernetes or terraform; make it two",
        "13: spec.components[7].terraform.path: this path leaves the repository",
        "14: spec.components[8].terraform.varFiles[0]: this path leaves the repository",
        "14: spec.components[8].terraform.varFiles[1]: expected a path inside the repository, not an absolute one",
        "15: spec.components[9].terraform.stateKey: the component on line 6 already has the state "
        "default-network (workspace and stateKey) (give one of the two another stateKey)",
        "16: spec.components[10].terraform.path: the component on line 6 has the same directory and workspace "
        "(give each a workspace, or a stateKey, of its own)",
    ]


def test_two_stacks_of_one_file_cannot_share_a_state() -> None:
    one = components(NETWORK)
    (fault,) = faults(f"{one}---\n{one.replace('name: web', 'name: api').replace('infra/network', 'other')}")
    assert fault.startswith("13: spec.components[0].terraform.stateKey: the component on line 6 already has")


def test_two_states_that_terraform_would_give_one_name_are_one() -> None:
    (fault,) = faults(
        components(
            "{name: c, terraform: {path: a, workspace: a-b}}",
            "{name: b-c, terraform: {path: b, workspace: a}}",
        )
    )
    assert "the component on line 6 already has the state a-b-c" in fault


def test_two_components_on_one_line_are_two() -> None:
    text = HEAD + "spec: {components: [{name: a, terraform: {path: a}}, {name: b, terraform: {path: a}}]}\n"
    assert faults(text) == [
        "4: spec.components[1].terraform.path: the component on line 4 has the same directory and workspace "
        "(give each a workspace, or a stateKey, of its own)"
    ]


@pytest.mark.parametrize(
    ("lines", "circle"),
    [
        (
            [
                "{name: a, terraform: {path: a, varsFrom: [{terraform: b.x}]}}",
                "{name: b, terraform: {path: b, varsFrom: [{terraform: a.y}]}}",
            ],
            "6: spec.components[0].terraform.varsFrom[0].terraform: these components depend on each other in a "
            "circle: a -> b (uses b.x) -> a (uses a.y)",
        ),
        (
            [
                "{name: a, kubernetes: {path: a}, values: {v: {terraform: b.x}}}",
                "{name: b, terraform: {path: b}, dependsOn: [a]}",
            ],
            "6: spec.components[0].values.v.terraform: these components depend on each other in a circle: "
            "a -> b (uses b.x) -> a",
        ),
        (
            [
                "{name: a, terraform: {path: a}, dependsOn: [b]}",
                "{name: b, kubernetes: {path: b}, values: {v: {terraform: a.x}}}",
            ],
            "6: spec.components[0].dependsOn: these components depend on each other in a circle: "
            "a -> b -> a (uses a.x)",
        ),
    ],
)
def test_outputs_and_dependencies_together_run_in_no_circle(lines: list[str], circle: str) -> None:
    assert faults(components(*lines)) == [circle]


@pytest.mark.parametrize(
    ("component", "wrong"),
    [
        ("{name: b, terraform: {}}", "terraform.path: this key is missing"),
        ("{name: b, terraform: {path: b, workspace: a/b}}", "terraform.workspace: Terraform takes no workspace"),
        ("{name: b, terraform: {path: b, workspace: -x}}", "terraform.workspace: Terraform takes no workspace"),
        ("{name: b, terraform: {path: b, workspace: ''}}", "terraform.workspace: Terraform takes no workspace"),
        ("{name: b, terraform: {path: b, stateKey: A_b}}", "terraform.stateKey: expected a DNS label"),
        ("{name: b, terraform: {path: b, varsFrom: [{}]}}", "terraform.varsFrom[0]: expected {terraform: COMPONENT."),
        ("{name: b, terraform: {path: b, varsFrom: [{terraform: network}]}}", "terraform.varsFrom[0].terraform: exp"),
        ("{name: b, terraform: {path: b, varsFrom: [{terraform: network.1}]}}", "terraform.varsFrom[0].terraform: exp"),
        (
            "{name: b, terraform: {path: b, varsFrom: [{terraform: network.x, as: 1a}]}}",
            "terraform.varsFrom[0].as: expected the name of a Terraform variable",
        ),
        (
            "{name: b, terraform: {path: b, varsFrom: [{sealedSecret: x.yaml, terraform: network.x}]}}",
            "terraform.varsFrom[0]: expected {terraform: COMPONENT.OUTPUT} or {sealedSecret: FILE}",
        ),
        (
            "{name: b, terraform: {path: b, varsFrom: [{sealedSecret: x.yaml, as: z1}]}}",
            "terraform.varsFrom[0]: as is for an output",
        ),
        (
            "{name: b, terraform: {path: b, varsFrom: [{sealedSecret: x.yaml}, {sealedSecret: ./x.yaml}]}}",
            "terraform.varsFrom[1].sealedSecret: the same file is on line",
        ),
        (
            "{name: b, terraform: {path: b, varsFrom: [{sealedSecret: 1}]}}",
            "terraform.varsFrom[0].sealedSecret: expected text, found a number (put it in quotes)",
        ),
        ("{name: b, terraform: {path: b}, approval: yes}", "approval: expected always, destroy or never"),
        (
            "{name: b, kubernetes: {path: b}, values: {a-b: {terraform: network.x}}}",
            "values.a-b: expected a name of letters, digits and underscores",
        ),
        ("{name: b, kubernetes: {path: b}, values: {a: network.x}}", "values.a: expected a mapping, found text"),
        ("{name: b, kubernetes: {path: b}, values: {a: {terraform: x}}}", "values.a.terraform: expected an output as"),
        ("{name: b, kubernetes: {path: b}, values: {a: {output: x}}}", "values.a.output: unknown key"),
    ],
)
def test_what_terraform_or_a_manifest_cannot_take_is_refused(component: str, wrong: str) -> None:
    told = faults(components(NETWORK, component))
    assert any(fault.startswith(f"7: spec.components[1].{wrong}") for fault in told), told
    assert len(told) == 1 + (": {output: x}" in component)
