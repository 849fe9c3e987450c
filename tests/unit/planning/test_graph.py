"""SEMANTICS 5: one order of (component wave, object wave), dependsOn and implicit needs; contradictions are errors."""

from __future__ import annotations

import random
from collections.abc import Mapping
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gitopsd.model.errors import CommitError
from gitopsd.model.ids import UnitId
from gitopsd.model.modules import OutputRef
from gitopsd.model.plan import Action, Change, Wave
from gitopsd.model.spec import StackSpec, TerraformComponent, Variable
from gitopsd.model.units import Document, Origin, TerraformUnit, Unit
from gitopsd.planning.graph import check_order, wave_text, waves
from gitopsd.planning.resolve import resolve
from tests.unit.planning.samples import REVISION, component, crd, desired, document, manifest, stack

WAVE = "gitopsd.io/wave"


def module(name: str, *, uses: str = "", **more: Any) -> TerraformComponent:
    variables = (Variable("v", OutputRef.parse(uses)),) if uses else ()
    return TerraformComponent(name, f"infra/{name}", state_key=name, variables=variables, **more)


def root(component: TerraformComponent) -> TerraformUnit:
    unit = UnitId.terraform(component.name)
    place = Origin("gitopsd.yaml", component.line or 1)
    return TerraformUnit(unit, component.name, (component.wave, 0), place, "digest", component.path)


def changes(units: dict[UnitId, Unit]) -> list[Change]:
    return [Change(u.id, Action.CREATE, u.component, u.order, u.digest) for u in units.values()]


def names(found: tuple[Wave, ...]) -> list[tuple[str, list[tuple[list[str], bool]]]]:
    return [
        (wave_text(w.order), [([str(c.unit) for c in layer.changes], layer.gated) for layer in w.layers]) for w in found
    ]


def test_kinds_of_one_wave_come_in_the_order_in_which_they_use_each_other() -> None:
    spec = stack()
    wanted = desired(
        spec,
        manifest("Deployment", "api"),
        manifest("ConfigMap", "conf"),
        manifest("ValidatingWebhookConfiguration", "guard"),
        manifest("Namespace", "web"),
        manifest("ServiceAccount", "runner"),
        crd("Widget"),
    )
    (wave,) = waves(changes(dict(wanted.units)), spec, wanted.units)
    assert [[c.unit.name for c in layer.changes] for layer in wave.layers] == [
        ["web"],
        ["widgets.example.org"],
        ["runner"],
        ["conf"],
        ["api"],
        ["guard"],
    ]
    assert [layer.gated for layer in wave.layers] == [False, False, False, False, False, True]


def test_a_gate_lies_between_a_component_and_one_that_depends_on_it() -> None:
    spec = stack(component("front", depends_on=("back",)), component("back"), component("aside"))
    wanted = desired(
        spec,
        document(manifest("ConfigMap", "f"), "front"),
        document(manifest("Deployment", "b"), "back"),
        document(manifest("ConfigMap", "a"), "aside"),
    )
    assert names(waves(changes(dict(wanted.units)), spec, wanted.units)) == [
        (
            "0",
            [
                (["ConfigMap/web/a"], False),
                (["Deployment.apps/web/b"], True),
                (["ConfigMap/web/f"], True),
            ],
        )
    ]


def test_a_dependency_holds_through_a_component_in_between_that_changes_nothing() -> None:
    spec = stack(component("a"), component("b", depends_on=("a",)), component("c", depends_on=("b",)))
    wanted = desired(spec, document(manifest("Service", "one"), "a"), document(manifest("ConfigMap", "two"), "c"))
    assert names(waves(changes(dict(wanted.units)), spec, wanted.units)) == [
        ("0", [(["Service/web/one"], True), (["ConfigMap/web/two"], True)])
    ]


def test_a_member_waits_for_its_namespace_although_its_own_component_depends_on_nothing() -> None:
    spec = stack(component("base"), component("spaces", depends_on=("base",)), component("app"))
    wanted = desired(
        spec,
        document(manifest("ConfigMap", "base", "elsewhere"), "base"),
        document(manifest("Namespace", "web"), "spaces"),
        document(manifest("ConfigMap", "member"), "app"),
    )
    (wave,) = waves(changes(dict(wanted.units)), spec, wanted.units)
    assert [[c.unit.name for c in layer.changes] for layer in wave.layers] == [["base"], ["web"], ["member"]]


def refused(spec: StackSpec, *documents: Any) -> str:
    with pytest.raises(CommitError) as error:
        desired(spec, *documents)
    return str(error.value)


def test_a_custom_resource_before_its_definition_is_an_error_that_names_both_places() -> None:
    text = refused(
        stack(),
        document(crd("Widget", annotations={WAVE: "5"}), file="k8s/app/crd.yaml", line=7),
        document(manifest("Widget.example.org", "w"), file="k8s/app/widget.yaml", line=3),
    )
    assert "k8s/app/widget.yaml:3" in text
    assert "k8s/app/crd.yaml:7" in text
    assert "wave 0 " in text
    assert "0/5" in text


def test_a_namespace_in_a_later_component_than_its_member_is_an_error() -> None:
    text = refused(
        stack(component("spaces", wave=10), component("app")),
        document(manifest("Namespace", "web"), "spaces", "k8s/spaces/ns.yaml"),
        document(manifest("ConfigMap", "c"), "app", "k8s/app/c.yaml"),
    )
    assert "k8s/spaces/ns.yaml:1" in text
    assert "k8s/app/c.yaml:1" in text


@pytest.mark.parametrize(
    ("components", "words"),
    [
        ([component("a", depends_on=("gone",))], ["gitopsd.yaml:10", "no component 'gone'"]),
        ([component("a", depends_on=("b",)), component("b", wave=5)], ["a (wave 0) depends on b (wave 5"]),
        (
            [component("a", depends_on=("b",)), component("b", depends_on=("a",))],
            ["circle", "gitopsd.yaml:10", "gitopsd.yaml:11"],
        ),
        ([component("a", depends_on=("a",))], ["circle"]),
    ],
)
def test_depends_on_that_contradicts_itself_is_an_error_of_the_stack_file(
    components: list[Any], words: list[str]
) -> None:
    text = refused(stack(*components), document(manifest("ConfigMap"), "a"))
    assert all(word in text for word in words), text


@pytest.mark.parametrize(
    ("components", "words"),
    [
        ([module("b", uses="gone.x")], ["gitopsd.yaml:10: b uses gone.x, but the stack has no component 'gone'"]),
        (
            [component("a", values={"h": OutputRef("b", "host"), "p": OutputRef("b", "port")}), module("b", wave=5)],
            ["gitopsd.yaml:10: a (wave 0) uses b.host, b.port (wave 5, gitopsd.yaml:11), which comes later"],
        ),
        (
            [module("a", uses="b.y"), module("b", uses="a.x")],
            ["circle", "a (gitopsd.yaml:10) uses b.y", "b (gitopsd.yaml:11) uses a.x"],
        ),
        (
            [component("a", values={"h": OutputRef("b", "host")}), module("b", depends_on=("a",))],
            ["circle", "a (gitopsd.yaml:10) uses b.host", "b (gitopsd.yaml:11) depends on a"],
        ),
    ],
)
def test_an_output_ties_components_as_a_dependency_does(components: list[Any], words: list[str]) -> None:
    spec = stack(*components)
    text = "; ".join(str(problem) for problem in check_order(spec, {u.id: u for u in map(root, spec.terraform)}))
    assert all(word in text for word in words), text


def test_object_waves_that_contradict_an_output_are_an_error_naming_both() -> None:
    spec = stack(component("app", values={"host": OutputRef("net", "host")}), module("net"))
    early = document(manifest("ConfigMap", "early", annotations={WAVE: "-3"}), "app", "k8s/app/early.yaml")
    with pytest.raises(CommitError) as error:
        resolve(spec, REVISION, "d", [early], {}, modules=[root(spec.terraform[0])])
    text = str(error.value)
    assert "app uses net.host" in text
    assert "k8s/app/early.yaml:1" in text
    assert "terraform/net (gitopsd.yaml:11)" in text


def test_modules_and_objects_are_in_one_order_with_a_gate_between_an_output_and_who_uses_it() -> None:
    spec = stack(
        component("app", values={"host": OutputRef("data", "host")}),
        module("data", uses="net.id"),
        module("net"),
        component("aside"),
        module("late", wave=7),
    )
    documents = [document(manifest("ConfigMap", "a"), "app"), document(manifest("ConfigMap", "b"), "aside")]
    wanted = resolve(spec, REVISION, "d", documents, {}, modules=[root(c) for c in spec.terraform])
    assert names(waves(changes(dict(wanted.everything)), spec, wanted.everything)) == [
        (
            "0",
            [
                (["ConfigMap/web/b"], False),
                (["terraform/net"], True),
                (["terraform/data"], True),
                (["ConfigMap/web/a"], True),
            ],
        ),
        ("7", [(["terraform/late"], True)]),
    ]


def test_object_waves_that_contradict_depends_on_are_an_error_naming_both_objects() -> None:
    text = refused(
        stack(component("a"), component("b", depends_on=("a",))),
        document(manifest("ConfigMap", "late", annotations={WAVE: "3"}), "a", "k8s/a/late.yaml"),
        document(manifest("ConfigMap", "early"), "b", "k8s/b/early.yaml"),
    )
    assert "k8s/a/late.yaml:1" in text
    assert "k8s/b/early.yaml:1" in text


def test_a_circle_through_a_namespace_names_both_ends_of_its_edges() -> None:
    text = refused(
        stack(component("a"), component("b", depends_on=("a",))),
        document(manifest("ConfigMap", "member", "shared"), "a", "k8s/a/member.yaml", 4),
        document(manifest("Namespace", "shared"), "b", "k8s/b/space.yaml", 9),
    )
    assert "k8s/a/member.yaml:4" in text
    assert "k8s/b/space.yaml:9" in text
    assert "component b (gitopsd.yaml:11) depends on a" in text


# ---------------------------------------------------------------- properties

NAMES = ("a", "b", "c")
KINDS = ("Namespace", "CustomResourceDefinition", "Widget.example.org", "ConfigMap", "Deployment", "APIService")
CHOICES = list(product(NAMES, KINDS, (0, 1)))


@st.composite
def stacks(draw: st.DrawFn) -> tuple[StackSpec, dict[UnitId, Unit]]:
    """A stack that may be applied: its components depend on earlier ones of no higher wave."""
    waves_of = sorted(draw(st.lists(st.integers(-1, 1), min_size=3, max_size=3)))
    components = [
        component(
            name, wave=waves_of[n], depends_on=tuple(sorted(draw(st.sets(st.sampled_from(NAMES[:n]))))) if n else ()
        )
        for n, name in enumerate(NAMES)
    ]
    spec = stack(*components)
    documents: list[Document] = []
    units: Mapping[UnitId, Unit] = {}
    for owner, kind, wave in sorted(draw(st.sets(st.sampled_from(CHOICES), min_size=4, max_size=14))):
        name = f"{owner}-{kind.lower()}-{wave}" if kind != "Namespace" else f"space-{owner}-{wave}"
        space = f"space-{draw(st.sampled_from(NAMES))}-{draw(st.integers(0, 1))}"
        more = {"annotations": {WAVE: str(wave)}}
        body = crd("Widget", f"{owner}{wave}.org", **more) if kind == KINDS[1] else manifest(kind, name, space, **more)
        if kind == "Widget.example.org":
            body["apiVersion"] = f"{draw(st.sampled_from(NAMES))}{draw(st.integers(0, 1))}.org/v1"
        try:
            units = resolve(spec, REVISION, "digest", [*documents, document(body, owner)], {}).units
        except CommitError:
            continue  # it would contradict what is there already
        documents.append(document(body, owner))
    return spec, dict(units)


@given(stacks(), st.randoms(use_true_random=False))
def test_waves_hold_only_their_own_units_every_edge_goes_forward_and_input_order_is_irrelevant(
    made: tuple[StackSpec, dict[UnitId, Unit]], shuffle: random.Random
) -> None:
    spec, units = made
    assert check_order(spec, units) == []
    all_changes = changes(units)
    found = waves(all_changes, spec, units)
    place: dict[UnitId, tuple[int, int]] = {}
    gates: list[tuple[int, int]] = []
    for w, wave in enumerate(found):
        for n, layer in enumerate(wave.layers):
            assert layer.changes
            assert all(c.order == wave.order for c in layer.changes)
            place |= {c.unit: (w, n) for c in layer.changes}
            gates += [(w, n)] if layer.gated else []
        assert wave.layers[-1].gated
    assert [w.order for w in found] == sorted({u.order for u in units.values()})
    assert place.keys() == units.keys()
    for unit in units.values():
        space = UnitId(unit.id.cluster, "", "Namespace", "", unit.id.namespace)
        kind = UnitId(
            unit.id.cluster, "apiextensions.k8s.io", "CustomResourceDefinition", "", f"widgets.{unit.id.group}"
        )
        for needed in {space, kind} & units.keys():
            assert place[needed] < place[unit.id]
        for other in units.values():
            if other.component in spec.component(unit.component).depends_on:
                assert any(place[other.id] <= gate < place[unit.id] for gate in gates)
    shuffle.shuffle(all_changes)
    mixed = list(units.items())
    shuffle.shuffle(mixed)
    assert waves(all_changes, spec, dict(mixed)) == found
