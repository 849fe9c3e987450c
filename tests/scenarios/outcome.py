"""What came of a story, in a form in which two ways to the same end are equal."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

from gitopsd.kinds.marks import is_ours
from gitopsd.model.ids import UnitId
from gitopsd.model.live import LiveObject
from gitopsd.record.audit_reader import verify
from tests.scenarios.harness import APPLYSET, STACK, World
from tests.support.simcontrollers import REVISION
from tests.support.simstate import SimModule
from tests.support.ssa import shares

_MADE_BY_CONTROLLERS = frozenset({"Pod", "ReplicaSet"})
_OF_ONE_LIFE = frozenset(
    {"uid", "resourceVersion", "generation", "creationTimestamp", "deletionTimestamp", "managedFields"}
)


def outcome(world: World) -> dict[str, Any]:
    """Objects with their owners, memory here and in the cluster, and the record's view of every unit."""
    state, memory = world.state, world.state.memory
    parent = json.loads(world.server.memories.get(STACK, b"{}"))
    return {
        "objects": {
            str(unit): _settled(body)
            for unit, body in world.server.objects.items()
            if unit.kind not in _MADE_BY_CONTROLLERS
        },
        "good": [(g.commit, g.digest) for g in memory.good],
        "attempting": memory.attempting,
        "quarantine": [(q.commit, q.digest, q.unit) for q in memory.quarantine],
        "holds": sorted(h.reason.value for h in memory.holds),
        "pin": (memory.pin.commit, memory.pin.live) if memory.pin else None,
        "orders": world.sqlite.orders(STACK),
        "questions": [q.approval.digest for q in state.questions],
        "grants": [g.digest for g in state.grants],
        "jobs": [(str(j.unit), j.digest) for j in memory.jobs],
        "parent": {
            "good": [g["commit"] for g in parent.get("good", ())],
            "attempting": parent.get("attempting"),
            "quarantine": [q["commit"] for q in parent.get("quarantine", ())],
            "jobs": [j["unit"] for j in parent.get("jobs", ())],
        },
        "dirty": sorted(str(d.unit) for d in state.dirty),
        "intents": sorted(str(i.unit) for i in state.intents),
        "postponed": sorted(str(p.unit) for p in state.postponed),
        "states": {key: _state(module) for key, module in world.server.modules.items() if module.resources},
        "inventory": {
            str(u): (b.digest[:8], b.component, b.order, b.certain, u.is_terraform or b.uid == _uid(world, u))
            for u, b in sorted(world.sqlite.baselines(STACK).items())
        },
    }


def _state(module: SimModule) -> dict[str, Any]:
    """Resources without the names that they are born with."""
    return {address: {k: v for k, v in body.items() if k != "id"} for address, body in module.resources.items()}


def _settled(body: dict[str, Any]) -> dict[str, Any]:
    metadata = {k: v for k, v in body["metadata"].items() if k not in _OF_ONE_LIFE}
    if REVISION in metadata.get("annotations", {}):
        metadata["annotations"] = {k: v for k, v in metadata["annotations"].items() if k != REVISION}
    owners = {f"{s.manager} {s.operation}": sorted("/".join(p) for p in s.paths) for s in shares(body)}
    kept = {k: v for k, v in body.items() if k not in {"metadata", "status"}}
    return {**kept, "metadata": metadata, "owners": owners}


def _uid(world: World, unit: UnitId) -> str:
    body = world.server.objects.get(unit)
    return str(body["metadata"]["uid"]) if body else "gone"


def difference(wanted: dict[str, Any], got: dict[str, Any]) -> list[str]:
    """Where two outcomes differ, a line each."""
    lines = []
    for key, one in wanted.items():
        other = got[key]
        if isinstance(one, dict) and isinstance(other, dict):
            lines += [
                f"{key} {name}: {other.get(name, 'missing')} instead of {one.get(name, 'nothing')}"
                for name in sorted(one.keys() | other.keys())
                if one.get(name) != other.get(name)
            ]
        elif one != other:
            lines.append(f"{key}: {other} instead of {one}")
    return lines


def members(world: World) -> set[UnitId]:
    """Every live object that carries both of the stack's marks."""
    return {u for u, body in world.server.objects.items() if is_ours(LiveObject(u, body), STACK, APPLYSET)}


def written(world: World) -> Counter[tuple[str, UnitId]]:
    return Counter(world.server.writes)


def audit_findings(state_dir: Path) -> list[str]:
    return [str(finding) for finding in verify(state_dir).findings]
