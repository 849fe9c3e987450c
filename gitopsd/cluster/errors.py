"""What an API server's refusals mean. Pure: an HTTP status and a `Status` body in, a meaning out.

Rules, each observed on a real API server: only reason NotFound with a name means that something is absent, a bare 404
that the kind is not served; a 500 without a reason is a schema error of server-side apply and permanent, one with the
reason InternalError (a webhook that failed) is not.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

from gitopsd.model.ids import UnitId
from gitopsd.model.live import Absence, Rejection, RejectionKind

LONGEST = 600
"""Characters of one message that are shown: a refusal may quote a whole pod template as a Go structure."""

WITHHELD = "its text is withheld, for it may quote the Secret's contents"

_FIELD = re.compile(r"(?:^|[\s:(])(\.[A-Za-z_][^\s:]*): ")
"""A field path in the text of a schema error, as structured-merge-diff prints it: `.spec.ports: ...`."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """The parts of a Kubernetes `Status` that decide. `fields` are the causes' fields, `causes` their reasons."""

    code: int
    reason: str = ""
    message: str = ""
    kind: str = ""
    name: str = ""
    fields: tuple[str, ...] = ()
    causes: tuple[str, ...] = ()
    details: tuple[str, ...] = ()

    @property
    def not_found(self) -> bool:
        """Something that was named does not exist, said by the API itself."""
        return self.code == 404 and self.reason == "NotFound" and bool(self.name)


def read_refusal(code: int, body: Any) -> Refusal:
    """The `Status` of an answer; for any other body what the HTTP status alone tells."""
    if not isinstance(body, Mapping) or body.get("kind") != "Status":
        return Refusal(code)
    details = body.get("details") or {}
    causes = [cause for cause in details.get("causes") or () if isinstance(cause, Mapping)]
    return Refusal(
        code=code,
        reason=str(body.get("reason") or ""),
        message=str(body.get("message") or ""),
        kind=str(details.get("kind") or ""),
        name=str(details.get("name") or ""),
        fields=tuple(dict.fromkeys(str(c["field"]) for c in causes if c.get("field"))),
        causes=tuple(str(c.get("reason") or "") for c in causes),
        details=tuple(str(c.get("message") or "") for c in causes),
    )


def absence(refusal: Refusal) -> Absence | None:
    """What a refused GET says about the object; None if it says nothing."""
    if refusal.not_found:
        return Absence.GONE
    return Absence.KIND_UNSERVED if refusal.code == 404 else None


class Trouble(Enum):
    """Refusals that are not about the manifest alone: somebody has to look further, or wait."""

    FORBIDDEN = auto()  # RBAC or admission: only an access review tells
    UNEXPLAINED = auto()  # a 500 without reason: schema, unless the server itself is ill
    NO_DRY_RUN = auto()  # a webhook that cannot be asked without effects
    TRANSIENT = auto()


_GOT = re.compile(
    r"expected (?P<wanted>\w+)(?: \([^)]*\))?, got &value\.valueUnstructured\{Value:(?P<value>.*?)\}(?=$| \.\w)"
)
"""What was found where something else has to be, as Go prints the value."""

_NEXT = re.compile(r" (?=\.[A-Za-z_][^\s:]*: )")
_NUMBER = re.compile(r"-?\d+(\.\d+)?(e[+-]?\d+)?")

_PREAMBLE = re.compile(r"failed to [a-z ]+ \([^()]*\): ")
"""How the server introduces a schema error: with the object's name again, and words about its own machinery."""

_BY_CODE = {
    400: RejectionKind.SCHEMA,
    409: RejectionKind.CONFLICT,
}


def meaning(refusal: Refusal) -> RejectionKind | Trouble:
    """What a refused apply means. A 422 is INVALID here; dry runs may find out more (see `classify`)."""
    if refusal.code == 429 or refusal.code > 500 or (refusal.code == 500 and refusal.reason):
        return Trouble.TRANSIENT
    if refusal.code == 500:
        return Trouble.UNEXPLAINED
    if refusal.code == 400 and "does not support dry run" in refusal.message:
        return Trouble.NO_DRY_RUN
    if refusal.code == 403:
        return RejectionKind.TERMINATING if "NamespaceTerminating" in refusal.causes else Trouble.FORBIDDEN
    if refusal.code == 404:
        return _not_found(refusal)
    return _BY_CODE.get(refusal.code, RejectionKind.INVALID)


def _not_found(refusal: Refusal) -> RejectionKind:
    if not refusal.not_found:
        return RejectionKind.KIND_UNSERVED
    # Something else may be missing, too: a limited user's RoleBinding to a Role that does not exist.
    return RejectionKind.NAMESPACE_MISSING if refusal.kind == "namespaces" else RejectionKind.INVALID


def is_secret(unit: UnitId) -> bool:
    """Whether messages about this unit may quote what must not be shown."""
    return unit.kind == "Secret" and not unit.group


def rejection(kind: RejectionKind, refusal: Refusal, unit: UnitId, manifest: Mapping[str, Any]) -> Rejection:
    """The refusal as people read it; nothing of a Secret's contents is in it."""
    if is_secret(unit):
        fields = refusal.fields or _spelled(fields_in(refusal.message), manifest)
        return Rejection(kind, _secret_message(refusal, fields), fields, refusal.code)
    return Rejection(kind, readable(refusal), refusal.fields or fields_in(refusal.message), refusal.code)


def readable(refusal: Refusal) -> str:
    """The server's words, field by field where it names fields, without dumps of whole structures."""
    if refusal.fields and len(refusal.details) == len(refusal.causes):
        text = "; ".join(_shorten(detail) for detail in dict.fromkeys(refusal.details) if detail)
        named = [f for f in refusal.fields if f not in text]
        text = f"{', '.join(named)}: {text}" if named else text
    else:
        text = _typed(_PREAMBLE.sub("", " ".join(refusal.message.split())))
    return _shorten(text or f"HTTP {refusal.code}" + (f" {refusal.reason}" if refusal.reason else ""), LONGEST)


def _typed(text: str) -> str:
    """The errors of a schema check one by one, with what was found in the words of YAML instead of Go's."""
    told = _GOT.sub(lambda found: _found(found["wanted"], found["value"]), text)
    return _NEXT.sub("; ", told.removeprefix("errors: ")) if told != text else told


def _found(wanted: str, value: str) -> str:
    """Values are not repeated: what kind of value it is tells enough."""
    kinds = {"string": "text", "numeric": "a number", "map": "a mapping", "list": "a list"}
    if value in {"true", "false"}:
        kind = "true or false"
    elif _NUMBER.fullmatch(value):
        kind = "a number"
    else:
        kind = "a mapping" if value.startswith("map[") else "a list" if value.startswith("[") else "text"
    quotes = " (put it in quotes)" if wanted == "string" and kind in {"true or false", "a number"} else ""
    return f"expected {kinds.get(wanted, wanted)}, found {kind}{quotes}"


def safe_message(refusal: Refusal, unit: UnitId) -> str:
    """`readable`, or for a Secret what may be said without its text."""
    return _secret_message(refusal, ()) if is_secret(unit) else readable(refusal)


def _secret_message(refusal: Refusal, fields: tuple[str, ...]) -> str:
    what = f"refused with {refusal.code}" + (f" {refusal.reason}" if refusal.reason else "")
    return f"{what}{' at ' + ', '.join(fields) if fields else ''}; {WITHHELD}"


def _spelled(fields: Iterable[str], manifest: Mapping[str, Any]) -> tuple[str, ...]:
    """Only paths that the manifest itself spells out: a "path" found in a text may be a piece of a value."""
    keys = [str(key) for part in ("data", "stringData") for key in manifest.get(part) or ()]
    spelled = {f".{part}.{key}" for part in ("data", "stringData") for key in keys}
    return tuple(field for field in fields if field in spelled | {".data", ".stringData", ".type", ".immutable"})


def fields_in(message: str) -> tuple[str, ...]:
    """Field paths in the text of a schema error, for display; nothing is decided by them."""
    return tuple(dict.fromkeys(_FIELD.findall(message)))


def _shorten(text: str, most: int = LONGEST // 2) -> str:
    """The beginning and the end: a quoted structure stands in the middle, the verdict at the end."""
    return text if len(text) <= most else f"{text[: most // 2].rstrip()} ... {text[-(most // 2) :].lstrip()}"


def warnings(header: str, unit: UnitId) -> tuple[str, ...]:
    """The texts of a `Warning` header (RFC 7234, 5.5: code, agent, quoted text, maybe a date; several by comma)."""
    found = tuple(dict.fromkeys(re.sub(r"\\(.)", r"\1", text) for text in _WARNING.findall(header)))
    if is_secret(unit) and found:
        return (f"the API server warns about this Secret; {WITHHELD}",)
    return found


_WARNING = re.compile(r'\d{3} \S+ "((?:[^"\\]|\\.)*)"')
