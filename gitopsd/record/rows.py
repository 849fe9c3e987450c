"""Model values as rows of `state.db`, and back."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from gitopsd.model.errors import Cause
from gitopsd.model.ids import UnitId
from gitopsd.model.imprint import Imprint
from gitopsd.model.memory import Baseline
from gitopsd.model.run import RunKind, RunRecord, Verdict
from gitopsd.model.units import Person
from gitopsd.record.blobs import decoding, pack, printable, unpack_plain

BASELINE_COLUMNS = (
    "unit, component, wave, object_wave, digest, uid, resource_version, api_version, at, certain, metadata, imprint"
)
RUN_COLUMNS = (
    "id, stack, kind, revision, digest, author_name, author_email, started, finished, verdict, reason, cause, "
    "subject, undoes, failing"
)


NOTHING: Mapping[str, Any] = {}
"""What is kept of most objects beside their imprint, once."""


def baseline_row(baseline: Baseline) -> tuple[Any, ...]:
    return (
        str(baseline.unit),
        baseline.component,
        *baseline.order,
        baseline.digest,
        baseline.uid,
        baseline.resource_version,
        baseline.api_version,
        baseline.at,
        baseline.certain,
        pack(baseline.metadata),
        None if baseline.imprint is None else pack(_plain(baseline.imprint, baseline.uid)),
    )


@decoding
def baseline_of(row: tuple[Any, ...]) -> Baseline:
    unit, component, wave, object_wave, digest, uid, version, api_version, at, certain, metadata, imprint = row
    return Baseline(
        unit=UnitId.parse(unit),
        component=sys.intern(component),
        order=(wave, object_wave),
        digest=sys.intern(digest),
        uid=uid,
        resource_version=version,
        api_version=sys.intern(api_version),
        at=at,
        metadata=unpack_plain(metadata) or NOTHING,
        certain=bool(certain),
        imprint=None if imprint is None else _imprint(uid, unpack_plain(imprint)),
    )


def _plain(imprint: Imprint, uid: str) -> list[Any]:
    """Without names of fields, which would be most of it, and without the uid where that is in its own column."""
    others = [part for entry in imprint.others for part in entry]
    known = None if imprint.uid == uid else imprint.uid
    return [known, imprint.version, imprint.generation, imprint.own, imprint.marks, imprint.terminating, *others]


def _imprint(uid: str, plain: list[Any]) -> Imprint:
    known, version, generation, own, marks, terminating, *others = plain
    entries = tuple((sys.intern(who), what) for who, what in zip(others[::2], others[1::2], strict=True))
    return Imprint(uid if known is None else known, version, generation, own, marks, entries, terminating)


def run_row(run: RunRecord) -> tuple[Any, ...]:
    return (
        run.id,
        run.stack,
        run.kind.value,
        run.revision,
        run.digest,
        printable(run.author.name),
        printable(run.author.email),
        run.started,
        run.finished,
        run.verdict.value if run.verdict else None,
        printable(run.reason),
        run.cause.value if run.cause else None,
        printable(run.subject),
        run.undoes,
        str(run.failing) if run.failing else None,
    )


@decoding
def run_of(row: tuple[Any, ...]) -> RunRecord:
    """A run without plan, outcomes, observations, leftovers and suspects."""
    (
        id_,
        stack,
        kind,
        revision,
        digest,
        name,
        email,
        started,
        finished,
        verdict,
        reason,
        cause,
        subject,
        undoes,
        unit,
    ) = row
    run = RunRecord(id_, stack, RunKind(kind), revision, digest, Person(name, email), started)
    return replace(
        run,
        finished=finished,
        verdict=Verdict(verdict) if verdict else None,
        reason=reason,
        cause=Cause(cause) if cause else None,
        subject=subject,
        undoes=undoes,
        failing=UnitId.parse(unit) if unit else None,
    )


@decoding
def unit_of(text: str) -> UnitId:
    return UnitId.parse(text)
