"""What a gate does about a broken pod that keeps a StatefulSet from being updated: it deletes it, as people would."""

from __future__ import annotations

from dataclasses import replace

import structlog

from gitopsd.execution.session import Session
from gitopsd.kinds.health import STUCK, StuckPod, stuck_pods
from gitopsd.model.audit import AuditEvent
from gitopsd.model.errors import EnvironmentFault
from gitopsd.model.ids import UnitId
from gitopsd.model.live import Absence, Assessment, Deletion

log = structlog.get_logger("gitopsd.gate")

PATIENCE = 30.0
"""Seconds that a pod which is only not ready yet has to become so; half of a gate's time if that is less. One that
cannot start by itself gets none."""

TRY_AGAIN = 10.0
"""Seconds after a refused deletion until the next try."""


class Unblocker:
    """Deletes stuck pods in the gates of one run, and says why one stays."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self._since: dict[str, float] = {}  # by uid of the pod: when it was first seen stuck
        self._not_before: dict[str, float] = {}
        self._refused: dict[UnitId, str] = {}

    def attend(self, unit: UnitId, timeout: float) -> None:
        """Look at a StatefulSet that is held up; delete the pods that have had their time. Never raises for what the
        cluster does not answer or allow: the next look tries again, and `told` says it."""
        try:
            seen = self.session.cluster(unit).workloads([unit])[unit]
            stuck = () if isinstance(seen, Absence) else stuck_pods(seen)
            for pod in stuck:
                if self._is_due(pod, timeout):
                    self._delete(unit, pod)
        except EnvironmentFault as fault:
            log.warning("a stuck pod stays", run=self.session.run, unit=str(unit), fault=str(fault))

    def told(self, unit: UnitId, found: Assessment) -> Assessment:
        """An assessment with why the stuck pod is still there, if it could not be deleted."""
        if found.reason != STUCK:
            self._refused.pop(unit, None)
        why = self._refused.get(unit, "")
        return replace(found, message=f"{found.message}; {why}") if why else found

    def _is_due(self, pod: StuckPod, timeout: float) -> bool:
        now = self.session.clock.monotonic()
        since = self._since.setdefault(pod.uid, now)
        patience = 0.0 if pod.sure else min(PATIENCE, timeout / 2)
        # One look may catch a state in passing.
        return since < now and now - since >= patience and now >= self._not_before.get(pod.uid, now)

    def _delete(self, unit: UnitId, pod: StuckPod) -> None:
        target = UnitId(unit.cluster, "", "Pod", unit.namespace, pod.name)
        self._audit(target, pod, "begun", f"holds up the update of {unit}: {pod.why}")
        self._not_before[pod.uid] = self.session.clock.monotonic() + TRY_AGAIN
        try:
            answer = self.session.cluster(unit).delete(target, uid=pod.uid, resource_version=pod.resource_version)
        except EnvironmentFault as fault:
            command = f"kubectl delete pod -n {unit.namespace} {pod.name}"
            self._refused[unit] = f"it cannot be deleted, so do `{command}`: {fault}"
            self._audit(target, pod, "refused", str(fault))
            raise
        self._refused.pop(unit, None)
        if answer is Deletion.CHANGED:  # it was written since: another look tells what it is now
            del self._not_before[pod.uid]
            return
        self._audit(target, pod, "deleted", "its controller makes it anew from the template of now")
        log.info("stuck pod deleted", run=self.session.run, unit=str(unit), pod=pod.name, why=pod.why)

    def _audit(self, target: UnitId, pod: StuckPod, result: str, detail: str) -> None:
        event = AuditEvent(
            actor=self.session.actor,
            action="delete",
            stack=self.session.spec.name,
            run=self.session.run,
            revision=self.session.commit,
            unit=str(target),
            before=pod.uid,
            result=result,
            detail=detail,
        )
        self.session.record.audit([event])
