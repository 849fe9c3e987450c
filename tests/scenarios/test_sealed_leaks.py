"""SEMANTICS 14: nothing that is said or kept depends on what is sealed.

The strongest way to say that no value leaks: two worlds that differ in the sealed values alone cannot be told apart by
anything that a person, a log or a disk gets to see. So also the smallest value, and its length, are covered.
"""

from __future__ import annotations

import base64
import json
import re
import sqlite3
import tempfile
import zlib
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import orjson
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from gitopsd.model.codec import to_plain
from gitopsd.model.errors import Problem
from gitopsd.model.live import Accepted, Rejection, RejectionKind
from gitopsd.model.ports import OpenedItems
from gitopsd.model.sensitive import Sensitive
from gitopsd.model.units import Sealed
from gitopsd.sealed.document import At, read_sealed_secret
from gitopsd.stack import runner
from gitopsd.views.status import stack_status
from tests.scenarios.harness import World
from tests.scenarios.manifests import app, commit, config, space
from tests.support.seals import sealed

FIRST, SECOND = sealed("db", {"password": "1", "user": "1"}), sealed("db", {"password": "2", "user": "1"})

VALUES = st.one_of(
    st.binary(max_size=40),
    st.text(max_size=20).map(str.encode),
    st.sampled_from(
        [b"", b"0", b"null", b"true", b'{"a": "b"}', b"\\u0041\\n", b"cGFzc3dvcmQ=", b"a\nb\r\n", b"${x}", b"%s"]
    ),
)


SLOW = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture]


@dataclass(repr=False)
class Open:
    """A vault that knows what each sealed text stands for."""

    values: Mapping[str, Mapping[str, bytes]]

    def open(self, secret: Sealed) -> OpenedItems:
        items = self.values[secret.digest]
        return OpenedItems({k: Sensitive(v) for k, v in items.items()}, dict.fromkeys(items, "SHA256:key"))

    def digest(self) -> str:
        return "keys"

    def fingerprints(self) -> frozenset[str]:
        return frozenset({"SHA256:key"})

    def unusable(self) -> tuple[Problem, ...]:
        return ()

    def opened_by(self, _secret: Sealed) -> frozenset[str]:
        return self.fingerprints()


def digest_of(manifest: Mapping[str, Any]) -> str:
    return read_sealed_secret(manifest, At()).digest


def files(secret: Mapping[str, Any], tag: str = "good") -> dict[str, str]:
    return commit({"base": [space(), config("settings", {"a": "b"}), dict(secret)], "apps": [app(tag=tag)]})


def kept(world: World) -> dict[str, Any]:
    """Everything on disk: rows, not pages; in no order, for that of parallel requests is nobody's to tell, and neither
    are the hashes of the audit's chain."""
    entries = [json.loads(line) for line in (world.state_dir / "audit.jsonl").read_text().splitlines()]
    links = {entry[key] for entry in entries for key in ("hash", "prev")}
    with closing(sqlite3.connect(world.state_dir / "state.db")) as db:
        tables = [name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")]
        texts = {t: [plain(row) for row in db.execute(f"SELECT * FROM {t}")] for t in tables}  # noqa: S608
    for link in links - {""}:
        texts = {table: [text.replace(link, "link") for text in rows] for table, rows in texts.items()}
    chained = {"seq", "hash", "prev"}
    return {
        "db": {table: sorted(rows) for table, rows in texts.items() if not table.startswith("audit")},
        "audit": [{key: value for key, value in entry.items() if key not in chained} for entry in entries],
    }


def plain(row: Sequence[Any]) -> str:
    """A row as text, blobs unpacked; its numbers are only places in an order."""
    return repr([unpacked(cell) for cell in row if not isinstance(cell, int)])


def unpacked(cell: Any) -> Any:
    if not isinstance(cell, bytes):
        return cell
    try:
        return zlib.decompress(cell)
    except zlib.error:
        return cell


def unordered(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: unordered(item) for key, item in value.items()}
    return sorted(map(unordered, value), key=repr) if isinstance(value, list) else value


def story(first: bytes, second: bytes, user: bytes, *, refuse: str) -> dict[str, Any]:
    """A secret is made, edited by hand, healed, changed by a commit that fails, rolled back; what was said of it."""
    values = {
        digest_of(FIRST): {"password": first, "user": user},
        digest_of(SECOND): {"password": second, "user": user},
    }
    with tempfile.TemporaryDirectory() as directory, capture_logs() as logs:
        world = World(Path(directory))
        world.pipeline.vault = cast(Any, Open(values))
        world.deliver(files(FIRST))
        world.cluster.edit(next(u for u in world.server.objects if u.kind == "Secret"), by_hand)
        world.settle(sweep=True)
        world.push(files(SECOND))
        planned = plan(world)
        if refuse:
            refuse_secrets(world, late=refuse == "late")
        world.settle()
        world.deliver(files(SECOND if refuse else FIRST, tag="pull-error"))
        found = {
            "planned": planned,
            "runs": [to_plain(run) for run in world.runs],
            "status": stack_status(world.worker.facts.snapshot()),
            "kept": kept(world),
            "desired": repr(world.pipeline.desired(world.pipeline.ask("main", "shop", world.source.fetch()))),
        }
        world.close()
    found["log"] = [repr(entry) for entry in logs]
    return cast(
        "dict[str, Any]", unordered(json.loads(orjson.dumps(found, default=str).replace(directory.encode(), b"")))
    )


def by_hand(body: dict[str, Any]) -> None:
    body["data"]["password"] = base64.b64encode(b"by hand").decode()


def plan(world: World) -> Any:
    ask = world.pipeline.ask("main", "shop", world.source.fetch())
    planned = world.pipeline.plan(ask, world.state, at="now")
    return [to_plain(planned.plan), re.sub(r"0x[0-9a-f]+", "0x", repr(planned))]


def refuse_secrets(world: World, *, late: bool) -> None:
    """The API server refuses the Secret, and quotes what it was sent; `late`, only once it is to be stored."""
    apply = world.cluster.apply

    def refusing(unit: Any, manifest: Any, *, dry_run: bool = False) -> Accepted | Rejection:
        if unit.kind == "Secret" and not (late and dry_run):
            return Rejection(RejectionKind.INVALID, f"Secret is invalid: data: Invalid value: {manifest['data']}")
        return apply(unit, manifest, dry_run=dry_run)

    world.cluster.apply = refusing  # type: ignore[method-assign]


@pytest.mark.parametrize("refuse", ["", "early", "late"], ids=["rolled back", "refused", "refused in its wave"])
@settings(max_examples=25, deadline=None, suppress_health_check=SLOW)
@given(data=st.data())
def test_two_worlds_that_differ_in_sealed_values_alone_look_the_same(
    refuse: str, data: st.DataObject, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "PARALLEL", 1)  # the order of parallel requests is no one's to tell
    seen = []
    for _ in range(2):
        first, second, user = (data.draw(VALUES) for _ in range(3))
        assume(first != second and b"by hand" not in {first, second})
        seen.append(story(first, second, user, refuse=refuse))
    assert seen[0] == seen[1]
