"""What an apply of Terraform did, in words."""

from __future__ import annotations

from collections.abc import Iterable

from gitopsd.model.modules import ResourceAction, ResourceDone, ResourceEnd

_DID = {
    ResourceAction.CREATE: "created",
    ResourceAction.UPDATE: "changed",
    ResourceAction.REPLACE: "replaced",
    ResourceAction.DESTROY: "destroyed",
    ResourceAction.IMPORT: "imported",
    ResourceAction.FORGET: "forgot",
}
_TRIED = {ResourceAction.UPDATE: "change"}


def did(resource: ResourceDone) -> str:
    """What became of one resource: `created`, `failed to change`, `may have destroyed`."""
    if resource.end is ResourceEnd.DONE:
        return _DID[resource.action]
    if resource.end is ResourceEnd.FAILED:
        return f"failed to {_TRIED.get(resource.action, resource.action.value)}"
    return f"may have {_DID[resource.action]}"


def done_text(resources: Iterable[ResourceDone]) -> str:
    """All of them by address: `created a, b; failed to change c`. "" for none."""
    told: dict[str, list[str]] = {}
    for resource in resources:
        told.setdefault(did(resource), []).append(resource.address)
    return "; ".join(f"{words} {', '.join(addresses)}" for words, addresses in told.items())
