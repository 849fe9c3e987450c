"""What Terraform complains about: read from its JSON, or from the text of commands that have none."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from gitopsd.model.errors import Problem
from gitopsd.tfplan.scrub import Scrubber

LONGEST = 700
"""Characters of one message that are shown: a provider may quote a whole HTTP answer."""

_PREFACE = ("encountered problems during initialisation", "encountered problems during initialization")
"""How init introduces the errors of the code: no error of its own."""

_PLACE = re.compile(r"^\s*on (\S+) line (\d+)(?:,[^\n]*)?:?\s*$", re.MULTILINE)
_MENTIONED = re.compile(r"\bat ([\w./-]+\.(?:tf|tofu)(?:\.json)?):(\d+)")
_CODE = re.compile(r"^\s*\d+: .*$", re.MULTILINE)
_VALUES = re.compile(r"^\s*[├│].*$", re.MULTILINE)
_START = re.compile(r"^(Error|Warning): ", re.MULTILINE)
_BOX = re.compile(r"^[╷│╵] ?", re.MULTILINE)
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_AN_AREA = re.compile(r"with ([\w.\-\[\]\"]+),\s*$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One error or warning; `file` is as Terraform says it, relative to the root module's directory."""

    summary: str
    detail: str = ""
    error: bool = True
    file: str = ""
    line: int | None = None
    address: str = ""

    @property
    def text(self) -> str:
        return f"{self.summary}\n{self.detail}" if self.detail else self.summary

    @property
    def placed(self) -> bool:
        """Whether it is about something that stands in the code."""
        return bool(self.file or self.address)


def read_diagnostic(raw: Mapping[str, Any]) -> Diagnostic | None:
    """A diagnostic out of JSON; None for the preface of others. Snippets are left out: they quote values."""
    place = raw.get("range") or {}
    found = Diagnostic(
        summary=str(raw.get("summary") or "").strip(),
        detail=str(raw.get("detail") or "").strip(),
        error=raw.get("severity") != "warning",
        file=str(place.get("filename") or ""),
        line=(place.get("start") or {}).get("line"),
        address=str(raw.get("address") or ""),
    )
    return _placed_by_words(found) if _tells(found) else None


def read_text(text: str) -> tuple[Diagnostic, ...]:
    """Diagnostics out of what Terraform writes for people, with or without boxes and colours. A text without any is
    one error as it stands; an empty one is none."""
    plain = _BOX.sub("", _COLOUR.sub("", text)).strip()
    starts = [match.start() for match in _START.finditer(plain)]
    if not starts:
        return (Diagnostic(" ".join(plain.split())),) if plain else ()
    ends = [*starts[1:], len(plain)]
    blocks = (plain[start:end] for start, end in zip(starts, ends, strict=True))
    return tuple(d for d in map(_block, blocks) if _tells(d))


def problem(diagnostic: Diagnostic, root: str, scrubber: Scrubber, *, unit: str = "", remedy: str = "") -> Problem:
    """A diagnostic as people read it: its file as a path in the repository, `root` being the root module's."""
    text = " ".join(diagnostic.text.replace("\n", " ").split())
    detail = " ".join(diagnostic.detail.split())
    message = f"{' '.join(diagnostic.summary.split())}: {detail}" if detail else text
    address = diagnostic.address
    if address and address not in message:
        message = f"{address}: {message}"
    file = repository_path(diagnostic.file, root)
    line = diagnostic.line if file else None
    return Problem(_shorten(scrubber.text(message)), file=file, line=line, unit=unit, remedy=remedy)


def repository_path(file: str, root: str) -> str:
    """A path of a diagnostic as a path in the repository; "" if it leads out of it."""
    if not file or posixpath.isabs(file):
        return ""
    path = posixpath.normpath(posixpath.join(root, file))
    return "" if path == ".." or path.startswith("../") else path


def errors(diagnostics: Iterable[Diagnostic]) -> tuple[Diagnostic, ...]:
    """Those that are no warnings, each once."""
    return tuple(dict.fromkeys(d for d in diagnostics if d.error))


def warning_texts(diagnostics: Iterable[Diagnostic], root: str, scrubber: Scrubber) -> tuple[str, ...]:
    """The warnings as single lines, each once."""
    return tuple(dict.fromkeys(str(problem(d, root, scrubber)) for d in diagnostics if not d.error))


def _tells(diagnostic: Diagnostic) -> bool:
    return not any(words in diagnostic.summary for words in _PREFACE)


def _block(block: str) -> Diagnostic:
    head, _, rest = block.partition("\n")
    kind, _, summary = head.partition(": ")
    place, area = _PLACE.search(rest), _AN_AREA.search(rest)
    for pattern in (_AN_AREA, _PLACE, _CODE, _VALUES):
        rest = pattern.sub("", rest)
    return _placed_by_words(
        Diagnostic(
            summary=summary.strip(),
            detail=rest.strip(),
            error=kind == "Error",
            file=place[1] if place else "",
            line=int(place[2]) if place else None,
            address=area[1] if area else "",
        )
    )


def _placed_by_words(diagnostic: Diagnostic) -> Diagnostic:
    mentioned = _MENTIONED.search(diagnostic.detail)
    if diagnostic.file or mentioned is None:
        return diagnostic
    return replace(diagnostic, file=mentioned[1], line=int(mentioned[2]))


def _shorten(text: str) -> str:
    """The beginning and the end: what is quoted stands in the middle, the verdict at the end."""
    return text if len(text) <= LONGEST else f"{text[: LONGEST // 2].rstrip()} ... {text[-(LONGEST // 2) :].lstrip()}"
