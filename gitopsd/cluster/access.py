"""Whether a 403 is a missing RBAC rule (which one?) or an admission decision. The server is asked, not its text."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import orjson

from gitopsd.cluster.connection import Connection, Request
from gitopsd.cluster.errors import Refusal
from gitopsd.model.errors import EnvironmentFault

_SERVICE_ACCOUNT = "system:serviceaccount:"

_REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
_WHO = "/apis/authentication.k8s.io/v1/selfsubjectreviews"

_GRANTING = {"roles": "escalate", "clusterroles": "escalate", "rolebindings": "bind", "clusterrolebindings": "bind"}
"""The verb that allows to hand out more rights than one has (Kubernetes' privilege escalation prevention)."""


@dataclass(frozen=True, slots=True)
class Ask:
    """What was refused: verbs on one resource, in a namespace ("" is all of them, or none for cluster-wide kinds)."""

    verbs: tuple[str, ...]
    group: str
    resource: str
    namespace: str = ""
    name: str = ""
    namespaced: bool = True


class Access:
    """Asks the API server what its client may do."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def explain(self, ask: Ask, refusal: Refusal) -> EnvironmentFault | None:
        """The fault that names the missing rule; None when RBAC allows it all, so that admission has refused."""
        missing = tuple(verb for verb in ask.verbs if not self._allowed(ask, verb))
        if missing:
            return self._fault(ask, missing, refusal)
        granting = _GRANTING.get(ask.resource) if ask.group == "rbac.authorization.k8s.io" else None
        if granting and "attempting to grant" in refusal.message and not self._allowed(ask, granting):
            return self._fault(ask, (granting,), refusal)
        return None

    def _allowed(self, ask: Ask, verb: str) -> bool:
        attributes = {
            "verb": verb,
            "group": ask.group,
            "resource": ask.resource,
            "namespace": ask.namespace,
            "name": ask.name,
        }
        body = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": {key: value for key, value in attributes.items() if value}},
        }
        reply = self._connection.send(Request("POST", _REVIEWS, body=body))
        if not reply.ok:
            raise self._connection.fault(
                f"may not {verb} {_resource(ask)}, and may not ask why (HTTP {reply.status})",
                remedy="bind the ClusterRole system:basic-user to every authenticated user again",
            )
        return bool((reply.object().get("status") or {}).get("allowed"))

    def _fault(self, ask: Ask, verbs: Iterable[str], refusal: Refusal) -> EnvironmentFault:
        where = f"in namespace {ask.namespace}" if ask.namespace else _everywhere(ask)
        allowed = " or ".join(verbs)
        grant = f"apiGroups {_quote([ask.group])}, resources {_quote([ask.resource])}, verbs {_quote(verbs)}"
        kind = "" if ask.namespace else ", by a ClusterRole"
        text = f"{self.who(refusal)} may not {allowed} {_resource(ask)} {where} (grant: {grant}{kind})"
        return EnvironmentFault(f"cluster {self._connection.name}: {text}")

    def who(self, refusal: Refusal) -> str:
        """The identity as the cluster knows it, or the credential's name if the cluster will not tell."""
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
        reply = self._connection.send(Request("POST", _WHO, body=body))
        info = (reply.object().get("status") or {}).get("userInfo") or {}
        return describe_user(str(info.get("username") or _named_in(refusal) or ""), self._connection.user)


def describe_user(username: str, fallback: str) -> str:
    """`ServiceAccount NAMESPACE/NAME`, `user NAME`, or the fallback for an empty name."""
    if username.startswith(_SERVICE_ACCOUNT):
        namespace, _, name = username.removeprefix(_SERVICE_ACCOUNT).partition(":")
        return f"ServiceAccount {namespace}/{name}"
    return f"user {username}" if username else fallback


def _named_in(refusal: Refusal) -> str:
    """RBAC's refusals begin with `... is forbidden: User "NAME" cannot`; servers before 1.28 have no self review."""
    _, _, rest = refusal.message.partition('User "')
    return rest.partition('"')[0]


def _resource(ask: Ask) -> str:
    return f"{ask.resource}.{ask.group}" if ask.group else ask.resource


def _everywhere(ask: Ask) -> str:
    return "in all namespaces" if ask.namespaced else "(a cluster-wide resource)"


def _quote(values: Iterable[str]) -> str:
    return orjson.dumps(list(values)).decode().replace('","', '", "')
