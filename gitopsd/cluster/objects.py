"""Single objects: read, apply, patch, delete."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from gitopsd.cluster.access import Access, Ask
from gitopsd.cluster.classify import Classifier
from gitopsd.cluster.connection import APPLY, JSON_PATCH, Connection, Reply, Request, never, overloaded
from gitopsd.cluster.errors import (
    Refusal,
    Trouble,
    absence,
    is_secret,
    meaning,
    read_refusal,
    rejection,
    safe_message,
    warnings,
)
from gitopsd.cluster.locate import Locator, Place
from gitopsd.model.errors import EnvironmentFault
from gitopsd.model.ids import UnitId
from gitopsd.model.live import Absence, Accepted, Deletion, LiveObject, Rejection, RejectionKind
from gitopsd.model.units import Manifest

MANAGER = "gitopsd"
"""The field manager of everything that is applied."""

PATCH_MANAGER = "gitopsd-patch"
"""The field manager of JSON patches. It owns nothing afterwards: what it kept would survive its removal from git."""

_PAUSES = (0.05, 0.1, 0.2, 0.4, 0.8)
"""Seconds between attempts to apply over writers who are faster, or to a kind that is just coming up."""


def apply_query(*, dry_run: bool) -> dict[str, str]:
    """Server-side apply as this program always does it."""
    query = {"fieldManager": MANAGER, "force": "true", "fieldValidation": "Strict"}
    return {**query, "dryRun": "All"} if dry_run else query


def apply_transient(reply: Reply) -> bool:
    """Apply answers a schema error with a 500 that has no reason: repeating that is useless."""
    return overloaded(reply) and not (reply.status == 500 and not reply.object().get("reason"))


class Objects:
    """Requests for one object each."""

    def __init__(self, connection: Connection, locator: Locator, access: Access) -> None:
        self._connection, self._locator, self._access = connection, locator, access
        self._classifier = Classifier(connection)

    # ------------------------------------------------------------ read

    def get(self, unit: UnitId, api_version: str = "") -> LiveObject | Absence:
        place = self._locator.unit(unit, api_version)
        if place is None:
            return Absence.KIND_UNSERVED
        for pause in (*_PAUSES[:3], None):
            reply = self._connection.send(Request("GET", place.of(unit.name)))
            if reply.ok:
                return LiveObject(unit, reply.object())
            refusal = read_refusal(reply.status, reply.json())
            found = absence(refusal)
            if found is Absence.KIND_UNSERVED and pause is not None and self._locator.still_served(place):
                time.sleep(pause)  # a CRD is in discovery some milliseconds before its objects can be asked for
                continue
            if found is not None:
                return found
            raise self._denied(unit, place, ("get",), refusal)
        return Absence.KIND_UNSERVED

    # ------------------------------------------------------------ apply

    def apply(self, unit: UnitId, manifest: Manifest, *, dry_run: bool = False) -> Accepted | Rejection:
        place = self._locator.unit(unit, str(manifest.get("apiVersion", "")))
        if place is None:
            return _no_kind(unit, manifest)
        query = apply_query(dry_run=dry_run)
        request = Request(
            "PATCH",
            place.of(unit.name),
            query,
            manifest,
            APPLY,
            transient=apply_transient,
            secret=is_secret(unit),
        )
        try:
            reply = self._send_apply(unit, place, request)
        except TypeError as error:  # orjson: an integer beyond 64 bits, a value that is no JSON
            return Rejection(RejectionKind.SCHEMA, f"cannot be written as JSON: {error}")
        if reply.ok:
            return _accepted(unit, reply)
        refusal = read_refusal(reply.status, reply.json())
        found = meaning(refusal)
        if found is Trouble.UNEXPLAINED:
            found = RejectionKind.SCHEMA  # twice, with a server that is well
        if isinstance(found, Trouble):
            return self._troubled(unit, place, manifest, refusal, found)
        if found is RejectionKind.KIND_UNSERVED:
            return _no_kind(unit, manifest)
        if refusal.code in {422, 500}:  # two equal node ports after a merge are a 500, and no fault of the schema
            found = self._classifier.sort(unit, place, manifest, otherwise=found)
        return rejection(found, refusal, unit, manifest)

    def _send_apply(self, unit: UnitId, place: Place, request: Request) -> Reply:
        """The answer to an apply. A 500 without a reason is the schema, or the server's own trouble (its database): the
        object is read, through the same database, which raises if the server is ill, and then it is tried once more."""
        reply = self._persist(place, request)
        if reply.ok or meaning(read_refusal(reply.status, reply.json())) is not Trouble.UNEXPLAINED:
            return reply
        self.get(unit, place.api_version)
        return self._persist(place, request)

    def _persist(self, place: Place, request: Request) -> Reply:
        """Send it again while other writers are faster, or while the kind is just coming up."""
        reply = self._connection.send(request)
        for pause in _PAUSES:
            refusal = read_refusal(reply.status, reply.json()) if reply.status in {404, 409} else None
            if refusal is None or refusal.not_found:
                return reply
            if refusal.code == 404 and not self._locator.still_served(place):
                return reply
            time.sleep(pause)
            reply = self._connection.send(request)
        return reply

    def _troubled(
        self, unit: UnitId, place: Place, manifest: Manifest, refusal: Refusal, trouble: Trouble
    ) -> Rejection:
        if trouble is Trouble.FORBIDDEN:
            fault = self._access.explain(self._ask(unit, place, self._apply_verbs(unit, place)), refusal)
            if fault is not None:
                raise fault
            return rejection(RejectionKind.ADMISSION, refusal, unit, manifest)
        remedy = "declare sideEffects: None or NoneOnDryRun on the webhook" if trouble is Trouble.NO_DRY_RUN else ""
        raise self._connection.fault(safe_message(refusal, unit), unit=str(unit), remedy=remedy)

    def _apply_verbs(self, unit: UnitId, place: Place) -> tuple[str, ...]:
        """What an apply needs: `create`, too, if there is no object yet. Unreadable, it may need everything."""
        reply = self._connection.send(Request("GET", place.of(unit.name)))
        if reply.ok:
            return ("patch",)
        return ("patch", "create") if reply.status == 404 else ("get", "patch", "create")

    def dry_run_pod(self, unit: UnitId, pod: Manifest) -> Rejection | None:
        place = self._locator.kind("", "Pod", unit.namespace)
        if place is None:
            raise self._connection.fault("the server serves no pods")
        metadata = {key: value for key, value in (pod.get("metadata") or {}).items() if key != "name"}
        metadata |= {"generateName": f"{unit.name}-", "namespace": unit.namespace}
        body = {**pod, "apiVersion": "v1", "kind": "Pod", "metadata": metadata}
        query = {"dryRun": "All", "fieldManager": MANAGER, "fieldValidation": "Strict"}
        reply = self._connection.send(Request("POST", place.path, query, body))
        if reply.ok:
            return None
        refusal = read_refusal(reply.status, reply.json())
        found = meaning(refusal)
        if found is Trouble.FORBIDDEN:
            fault = self._access.explain(Ask(("create",), "", "pods", unit.namespace), refusal)
            if fault is not None:
                raise fault
            found = RejectionKind.ADMISSION
        if isinstance(found, Trouble):
            raise self._connection.fault(safe_message(refusal, unit), unit=str(unit))
        return rejection(found, refusal, unit, pod)

    # ------------------------------------------------------------ patch

    def patch(self, unit: UnitId, operations: Sequence[Mapping[str, Any]]) -> LiveObject | Absence | Rejection:
        place = self._locator.unit(unit)
        if place is None:
            return Absence.KIND_UNSERVED
        reply = self._json_patch(place, unit, list(operations), repeatable=False)
        if reply.ok:
            return self._disown(place, unit, LiveObject(unit, reply.object()))
        refusal = read_refusal(reply.status, reply.json())
        found = absence(refusal)
        if found is not None:
            return found
        if refusal.code == 403:
            fault = self._access.explain(self._ask(unit, place, ("patch",)), refusal)
            if fault is not None:
                raise fault
            return rejection(RejectionKind.ADMISSION, refusal, unit, {})
        if refusal.code == 409 or (refusal.code == 422 and not refusal.causes):
            # A `test` that does not hold is a 422 that names no field.
            return rejection(RejectionKind.CONFLICT, refusal, unit, {})
        if refusal.code >= 500:
            raise self._connection.fault(f"PATCH of the object: {safe_message(refusal, unit)}", unit=str(unit))
        return rejection(RejectionKind.INVALID, refusal, unit, {})

    def _json_patch(self, place: Place, unit: UnitId, body: list[Mapping[str, Any]], *, repeatable: bool) -> Reply:
        query = {"fieldManager": PATCH_MANAGER, "fieldValidation": "Strict"}
        transient = overloaded if repeatable else never
        path, secret = place.of(unit.name), is_secret(unit)
        return self._connection.send(
            Request("PATCH", path, query, body, JSON_PATCH, repeatable=repeatable, transient=transient, secret=secret)
        )

    def _disown(self, place: Place, unit: UnitId, live: LiveObject) -> LiveObject:
        """Take the patch's own entry out of managedFields. A writer in between makes it try again on what is then live;
        should it never win, the object is right all the same and only carries an entry more."""
        for _ in _PAUSES:
            kept = without_patch(live.managed_fields)
            if kept is None:
                return live
            operations: list[Mapping[str, Any]] = [
                {"op": "test", "path": "/metadata/resourceVersion", "value": live.resource_version},
                {"op": "replace", "path": "/metadata/managedFields", "value": kept},
            ]
            reply = self._json_patch(place, unit, operations, repeatable=True)
            if reply.ok:
                return LiveObject(unit, reply.object())
            now = self.get(unit, place.api_version)
            if isinstance(now, Absence):
                return live
            live = now
        return live

    # ------------------------------------------------------------ delete

    def delete(self, unit: UnitId, *, uid: str, resource_version: str) -> Deletion:
        place = self._locator.unit(unit)
        if place is None:
            raise self._unserved(unit)
        body = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "propagationPolicy": "Background",
            "preconditions": {"uid": uid, "resourceVersion": resource_version},
        }
        reply = self._connection.send(Request("DELETE", place.of(unit.name), body=body))
        if reply.ok:
            # A `Status` or the deleted object: it is gone. An object with a deletionTimestamp: it waits for something.
            metadata = reply.object().get("metadata") or {}
            return Deletion.TERMINATING if metadata.get("deletionTimestamp") else Deletion.GONE
        refusal = read_refusal(reply.status, reply.json())
        if refusal.not_found:
            return Deletion.GONE
        if refusal.code == 404:
            raise self._unserved(unit)
        if refusal.code == 409:
            return self._after_conflict(unit, uid)
        raise self._denied(unit, place, ("delete",), refusal)

    def _after_conflict(self, unit: UnitId, uid: str) -> Deletion:
        """A precondition that does not hold, or a namespace that is being emptied already: the object tells."""
        live = self.get(unit)
        if live is Absence.KIND_UNSERVED:
            raise self._unserved(unit)
        if isinstance(live, Absence):
            return Deletion.GONE
        return Deletion.TERMINATING if live.uid == uid and live.terminating else Deletion.CHANGED

    # ------------------------------------------------------------ refusals

    def _denied(self, unit: UnitId, place: Place, verbs: tuple[str, ...], refusal: Refusal) -> EnvironmentFault:
        """The fault for a request that can only be refused by the environment."""
        fault = self._access.explain(self._ask(unit, place, verbs), refusal) if refusal.code == 403 else None
        said = safe_message(refusal, unit)
        return fault or self._connection.fault(f"{verbs[0]} is refused: {said}", unit=str(unit))

    def _unserved(self, unit: UnitId) -> EnvironmentFault:
        return self._connection.fault(
            f"{unit.group_kind} is not served now, so that nobody can tell whether the object exists",
            unit=str(unit),
            remedy="look at its CustomResourceDefinition or APIService",
        )

    @staticmethod
    def _ask(unit: UnitId, place: Place, verbs: tuple[str, ...]) -> Ask:
        resource = place.resource
        return Ask(verbs, resource.group, resource.plural, place.namespace, unit.name, resource.namespaced)


def _no_kind(unit: UnitId, manifest: Manifest) -> Rejection:
    text = f"the cluster does not serve {unit.group_kind} in version {manifest.get('apiVersion')}"
    return Rejection(RejectionKind.KIND_UNSERVED, text)


def _accepted(unit: UnitId, reply: Reply) -> Accepted | Rejection:
    live = LiveObject(unit, reply.object())
    if live.terminating:
        # The server takes changes to an object that is being deleted as if nothing was wrong.
        waits = ", ".join(live.metadata.get("finalizers") or ())
        text = f"is being deleted since {live.metadata['deletionTimestamp']}"
        return Rejection(
            RejectionKind.TERMINATING, text + (f", waiting for {waits}" if waits else ""), (), reply.status
        )
    created = reply.status == 201 or (reply.uncertain and created_by(live, reply))
    return Accepted(live, created, warnings(reply.headers.get("Warning", ""), unit))


def without_patch(entries: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]] | None:
    """managedFields without the entry of a JSON patch of ours; None if there is none.

    Were it the only one, an object without any owner would be left, all of whose fields the server hands to an invented
    manager at the next apply: then the entry becomes that of our applies.
    """
    kept = [entry for entry in entries if entry.get("manager") != PATCH_MANAGER]
    if len(kept) == len(entries):
        return None
    return kept or [{**entries[0], "manager": MANAGER, "operation": "Apply"}]


def created_by(live: LiveObject, reply: Reply) -> bool:
    """Whether an attempt whose answer was lost has made this object.

    It has if the object began after the first attempt, by the server's own clock, and our entry is as old as the object
    itself while nobody else's main entry is: then there was nothing that we could have found.
    """
    born = _instant(live.metadata.get("creationTimestamp"))
    now = _server_time(reply)
    if born is None or now is None or (now - born).total_seconds() > reply.elapsed + 2.0:
        return False
    first = [e for e in live.managed_fields if not e.get("subresource") and _instant(e.get("time")) == born]
    return bool(first) and all(e.get("manager") == MANAGER and e.get("operation") == "Apply" for e in first)


def _instant(text: Any) -> datetime | None:
    return datetime.fromisoformat(text) if isinstance(text, str) else None


def _server_time(reply: Reply) -> datetime | None:
    text = reply.headers.get("Date", "")
    return parsedate_to_datetime(text).astimezone(UTC) if text else None
