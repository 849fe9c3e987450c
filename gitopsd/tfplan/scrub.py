"""Keeping sensitive values out of everything that people and files see."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from gitopsd.model.sensitive import Sensitive
from gitopsd.tfplan.values import leaves, marked_leaves

SHORTEST = 3
"""Characters below which a value is not looked for: it would be found everywhere and hide nothing."""

_SHORTEST_LINE = 8
"""Of a value of several lines each line of this length is a secret of its own: an error may quote one alone."""

MASK = "(sensitive)"


class Scrubber:
    """Collects sensitive values and takes them out of texts. Terraform marks values, not texts: what a provider puts
    into an error, or copies to a field that is not marked (the `output` of a `terraform_data`), shows them."""

    def __init__(self) -> None:
        self._secrets: set[str] = set()
        self._pattern: re.Pattern[str] | None = None

    def __repr__(self) -> str:
        return f"Scrubber({len(self._secrets)} values)"

    def add(self, values: Iterable[Any]) -> None:
        """Every scalar in these values is sensitive. Booleans cannot be hidden and are left out."""
        found: set[str] = set()
        for value in values:
            for leaf in leaves(value.reveal() if isinstance(value, Sensitive) else value):
                found |= _spellings(leaf)
        if not found <= self._secrets:
            self._secrets |= found
            self._pattern = None

    def learn_plan(self, document: Mapping[str, Any]) -> None:
        """Everything that a plan (`show -json FILE`) marks as sensitive."""
        declared = _path(document, "configuration", "root_module", "variables")
        given = document.get("variables") or {}
        for name, variable in declared.items():
            if variable.get("sensitive"):
                self.add((given.get(name, {}).get("value"), variable.get("default")))
        changes = [
            raw.get("change") or {} for part in ("resource_changes", "resource_drift") for raw in _list(document, part)
        ]
        for change in (*changes, *(document.get("output_changes") or {}).values()):
            self.add(marked_leaves(change.get("before"), change.get("before_sensitive")))
            self.add(marked_leaves(change.get("after"), change.get("after_sensitive")))
        self._learn_values(document.get("planned_values") or {})
        self._learn_values(_path(document, "prior_state", "values"))

    def learn_state(self, document: Mapping[str, Any]) -> None:
        """Everything that a state (`show -json`) marks as sensitive."""
        self._learn_values(document.get("values") or {})

    def text(self, text: str) -> str:
        """The text without any sensitive value."""
        pattern = self._compiled()
        return pattern.sub(MASK, text) if pattern else text

    def hides(self, value: Any, shortest: int = SHORTEST) -> bool:
        """Whether a sensitive value of at least `shortest` characters stands somewhere in this one, be it inside JSON
        that is written in a text."""
        pattern = self._compiled()
        return pattern is not None and any(
            len(match[0]) >= shortest
            for leaf in leaves(value)
            if not isinstance(leaf, bool)
            for match in pattern.finditer(str(leaf))
        )

    def _learn_values(self, values: Mapping[str, Any]) -> None:
        for output in (values.get("outputs") or {}).values():
            if output.get("sensitive"):
                self.add((output.get("value"),))
        modules = [values.get("root_module") or {}]
        while modules:
            module = modules.pop()
            modules += module.get("child_modules") or ()
            for resource in module.get("resources") or ():
                self.add(marked_leaves(resource.get("values"), resource.get("sensitive_values")))

    def _compiled(self) -> re.Pattern[str] | None:
        if self._pattern is None and self._secrets:
            # The longest first: a value that is the beginning of another would leave the other's end standing.
            self._pattern = re.compile("|".join(map(re.escape, sorted(self._secrets, key=lambda s: (-len(s), s)))))
        return self._pattern


def _spellings(leaf: Any) -> set[str]:
    """How a value may stand in a text: as it is, as JSON, as Go's JSON, and each of its longer lines."""
    if isinstance(leaf, bool):
        return set()
    text = str(leaf)
    quoted = json.dumps(text, ensure_ascii=False)[1:-1]
    found = {text, text.strip(), quoted, json.dumps(text)[1:-1]}
    found.add(quoted.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))
    lines = text.splitlines()
    if len(lines) > 1:
        found |= {line.strip() for line in lines if len(line.strip()) >= _SHORTEST_LINE}
    return {spelling for spelling in found if len(spelling) >= SHORTEST}


def _path(document: Mapping[str, Any], *keys: str) -> Mapping[str, Any]:
    found: Any = document
    for key in keys:
        found = found.get(key) or {}
    return found  # type: ignore[no-any-return]


def _list(document: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    return document.get(key) or []
