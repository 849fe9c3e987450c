"""The part of Go's text/template that `spec.template.data` of a SealedSecret may use here: text with items in it.

The sealed-secrets controller runs these texts with the whole of sprig, loops and functions included. What a manifest
says in them could do anything but be reviewed; gitopsd takes what only puts values in their places:

    {{ .item }}    {{ index . "any-item" }}    {{ "{{" }}    {{- trimmed -}}
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

_FIELD: Final = re.compile(r"\.([^\W\d]\w*)")
_INDEX: Final = re.compile(r'index\s+\.\s*(?:"([^"\\\n]*)"|`([^`]*)`)')
_TEXT: Final = re.compile(r'"([^"\\\n]*)"|`([^`]*)`')
_SPACE: Final = " \t\r\n"
"""What a trim marker takes away, as text/template's documentation says."""


class TemplateError(ValueError):
    """A text that gitopsd does not fill in; the message tells a person why, and shows nothing of the text."""


@dataclass(frozen=True, slots=True)
class Reference:
    """The place of an item."""

    item: str


Template = tuple[str | Reference, ...]


def parse_template(text: str) -> Template:
    """The literal texts and references of a template. Raises TemplateError."""
    parts: list[str | Reference] = []
    trim = False
    for literal, action, opens, closes in _actions(text):
        shown = literal.lstrip(_SPACE) if trim else literal
        shown = shown.rstrip(_SPACE) if opens else shown
        if shown:
            parts.append(shown)
        if action is not None:
            parts.append(_meaning(action))
        trim = closes
    return tuple(parts)


def references(template: Template) -> frozenset[str]:
    """The items that a template names."""
    return frozenset(part.item for part in template if isinstance(part, Reference))


def fill(template: Template, values: Mapping[str, bytes]) -> bytes:
    """The bytes of a template with these values, which have to be all that it names."""
    return b"".join(values[part.item] if isinstance(part, Reference) else part.encode() for part in template)


def _actions(text: str) -> Iterator[tuple[str, str | None, bool, bool]]:
    """(text before it, what stands inside the braces, whether it trims before, and after itself) of every action; the
    text after the last one comes with None."""
    at = 0
    while (start := text.find("{{", at)) >= 0:
        inside, opens, closes, end = _action(text, start + 2)
        yield text[at:start], inside, opens, closes
        at = end
    yield text[at:], None, False, False


def _action(text: str, start: int) -> tuple[str, bool, bool, int]:
    opens = text[start : start + 1] == "-" and text[start + 1 : start + 2] in tuple(_SPACE)
    begin = start + 1 if opens else start
    end = _end(text, begin)
    if end < 0:
        raise TemplateError("there is a {{ without its }}")
    inside = text[begin:end]
    closes = inside.endswith("-") and inside[-2:-1] in tuple(_SPACE)
    return (inside[:-1] if closes else inside).strip(_SPACE), opens, closes, end + 2


def _end(text: str, at: int) -> int:
    """Where the closing braces stand, braces inside of quotes not counted; -1 if nowhere."""
    quote = ""
    for place in range(at, len(text)):
        character = text[place]
        if quote:
            quote = "" if character == quote else quote
        elif character in '"`':
            quote = character
        elif text.startswith("}}", place):
            return place
    return -1


def _meaning(action: str) -> str | Reference:
    if found := _FIELD.fullmatch(action):
        return Reference(found[1])
    if found := _INDEX.fullmatch(action):
        return Reference(found[1] if found[1] is not None else found[2])
    if found := _TEXT.fullmatch(action):
        return found[1] if found[1] is not None else found[2]
    raise TemplateError('only {{ .item }}, {{ index . "item" }} and quoted text may stand between {{ and }}')
