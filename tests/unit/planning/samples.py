"""Stacks, units and answers of an API server that merges maps as server-side apply does, for tests of planning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from gitopsd.kinds.builtin import BUILTIN
from gitopsd.kinds.marks import applyset_id, mark, parent_name
from gitopsd.model.errors import Problem
from gitopsd.model.ids import UnitId
from gitopsd.model.live import Absence, Accepted, Catalog, LiveObject, Rejection, RejectionKind, Resource
from gitopsd.model.memory import Baseline, Memory, StackState
from gitopsd.model.spec import Component, KubernetesComponent, StackSpec
from gitopsd.model.units import Desired, Document, KubernetesUnit, Manifest, Origin, Person, Revision
from gitopsd.planning.assemble import assemble
from gitopsd.planning.findings import Finding
from gitopsd.planning.inventory import baseline_of
from gitopsd.planning.resolve import resolve
from gitopsd.planning.select import Candidate, Selection, select
from gitopsd.planning.send import autoscaled_targets, manifest_to_send

STACK = "web"
APPLYSET = applyset_id(parent_name(STACK), "gitopsd-system")
APPLYSETS = {"default": APPLYSET, "other": APPLYSET}
REVISION = Revision(
    "c" * 40, Person("Ada", "ada@example.org"), Person("Ada", "ada@example.org"), "2026-01-01T00:00:00Z", "change"
)
STATE = StackState(Memory(STACK, "test", "main"))

_VERSIONS = {"autoscaling": "v2"}


def catalog(*custom: Resource) -> Catalog:
    """What a cluster serves: everything built in, in one version each, and these."""
    resources = {
        key: Resource(b.group, b.kind, b.kind.lower() + "s", b.namespaced, (_VERSIONS.get(b.group, "v1"),))
        for key, b in BUILTIN.items()
    }
    return Catalog(resources | {(r.group, r.kind): r for r in custom})


def component(name: str = "app", **more: Any) -> KubernetesComponent:
    return KubernetesComponent(name, f"k8s/{name}", **more)


def stack(*components: Component, **more: Any) -> StackSpec:
    placed = tuple(replace(c, line=10 + n) for n, c in enumerate(components or (component(),)))
    return StackSpec(STACK, "main", "gitopsd.yaml", placed, **more)


def manifest(kind: str, name: str = "x", namespace: str = "web", **body: Any) -> dict[str, Any]:
    """A manifest of a built-in kind, or of `Kind.group` (then v1). `annotations` and `labels` go to the metadata."""
    bare, _, group = kind.partition(".")
    if not group:
        group = next(g for g, k in BUILTIN if k == bare)
    metadata: dict[str, Any] = {"name": name}
    builtin = BUILTIN.get((group, bare))
    if namespace and (builtin is None or builtin.namespaced):
        metadata["namespace"] = namespace
    for key in ("annotations", "labels"):
        if key in body:
            metadata[key] = body.pop(key)
    version = _VERSIONS.get(group, "v1")
    api = f"{group}/{version}" if group else version
    return {"apiVersion": api, "kind": bare, "metadata": metadata, **body}


def crd(kind: str, group: str = "example.org", **more: Any) -> dict[str, Any]:
    spec = {
        "group": group,
        "names": {"kind": kind, "plural": f"{kind.lower()}s"},
        "scope": "Namespaced",
        "versions": [{"name": "v1", "served": True, "storage": True}],
    }
    return manifest("CustomResourceDefinition", f"{kind.lower()}s.{group}", spec=spec, **more)


def document(body: Manifest, component: str = "app", file: str = "k8s/app/all.yaml", line: int = 1) -> Document:
    return Document(component, body, Origin(file, line))


def desired(spec: StackSpec, *documents: Document | Manifest) -> Desired:
    placed = [
        d if isinstance(d, Document) else document(d, spec.components[0].name, line=n)
        for n, d in enumerate(documents, 1)
    ]
    return resolve(spec, REVISION, "digest", placed, {name: catalog() for name in spec.clusters})


def only(wanted: Desired) -> KubernetesUnit:
    (unit,) = wanted.units.values()
    return unit


# ---------------------------------------------------------------- the world


def field_set(value: Any) -> dict[str, Any]:
    """The FieldsV1 set of everything in a value; lists are owned as a whole."""
    if not isinstance(value, Mapping):
        return {}
    return {f"f:{key}": field_set(item) for key, item in value.items()}


def _owned(body: Manifest) -> dict[str, Any]:
    metadata = {k: v for k, v in body["metadata"].items() if k in {"labels", "annotations"}}
    rest = {k: v for k, v in body.items() if k not in {"apiVersion", "kind", "metadata"}}
    return {"f:metadata": field_set(metadata), **field_set(rest)}


def merged(live: Any, sent: Any) -> Any:
    if isinstance(live, Mapping) and isinstance(sent, Mapping):
        return {**live, **{k: merged(live.get(k), v) for k, v in sent.items()}}
    return sent


def live_object(
    unit: UnitId, body: Manifest, *, uid: str = "uid-1", version: str = "1", manager: str = "gitopsd", **metadata: Any
) -> LiveObject:
    entry = {"manager": manager, "operation": "Apply", "apiVersion": body["apiVersion"], "fieldsV1": _owned(body)}
    meta = {**body["metadata"], "uid": uid, "resourceVersion": version, "managedFields": [entry], **metadata}
    return LiveObject(unit, {**body, "metadata": meta})


def applied(unit: KubernetesUnit, *, uid: str = "uid-1", **metadata: Any) -> LiveObject:
    """The object as it is after this very unit was applied."""
    return live_object(unit.id, mark(unit.manifest, STACK, unit.id, APPLYSET), uid=uid, **metadata)


def dry_run(unit: KubernetesUnit, sent: Manifest, live: LiveObject | None) -> Accepted:
    if live is None:
        return Accepted(live_object(unit.id, sent, uid="new"), created=True)
    return Accepted(LiveObject(unit.id, merged(live.body, sent)), created=False)


def finding(
    unit: KubernetesUnit, live: LiveObject | None = None, refusal: Rejection | None = None, **more: Any
) -> Finding:
    wanted = Desired(STACK, REVISION, "digest", {unit.id: unit})
    sent = manifest_to_send(unit, live, STACK, APPLYSET, autoscaled_targets(wanted))
    absence = Absence.GONE if live is None else None
    return Finding(unit.id, live, absence, refusal or dry_run(unit, sent, live), sent=sent, **more)


def refusal(kind: RejectionKind, message: str = "no", *fields: str) -> Rejection:
    return Rejection(kind, message, fields, 422)


def baseline(live: LiveObject, unit: KubernetesUnit | None = None, **more: Any) -> Baseline:
    base = baseline_of(
        live,
        component=unit.component if unit else "app",
        order=unit.order if unit else (0, 0),
        digest=unit.digest if unit else "old",
        at="2026-01-01T00:00:00Z",
    )
    return replace(base, **more)


def candidate(unit: KubernetesUnit, reason: str = "changed") -> Candidate:
    return Candidate(unit, reason)


def plan(
    spec: StackSpec,
    wanted: Desired,
    live: Mapping[UnitId, LiveObject] | None = None,
    *,
    findings: Sequence[Finding] = (),
    baselines: Mapping[UnitId, Baseline] | None = None,
    state: StackState = STATE,
    removals_live: Mapping[UnitId, LiveObject | Absence] | None = None,
    claims: Mapping[UnitId, str] | None = None,
    selection: Selection | None = None,
) -> Any:
    """The plan of a deploy; what is not told otherwise is found as `live` has it and accepted."""
    seen = live or {}
    known = baselines or {}
    chosen = selection or select(wanted, known, state)
    told = {f.unit: f for f in findings}
    return assemble(
        spec,
        wanted,
        chosen,
        {c.unit.id: told.get(c.unit.id) or finding(c.unit, seen.get(c.unit.id)) for c in chosen.apply},
        known,
        state,
        removals_live={b.unit: (removals_live or seen).get(b.unit, Absence.GONE) for b in chosen.remove},
        claims=claims or {},
        applysets=APPLYSETS,
    )


def texts(problems: Sequence[Problem]) -> str:
    return "\n".join(str(p) for p in problems)
