"""What an object's own annotations ask of gitopsd."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Any, TypeVar

from gitopsd.kinds.fields import ignorable
from gitopsd.kinds.marks import TRACKING_ANNOTATION
from gitopsd.kinds.paths import split_paths
from gitopsd.model.units import GateRole, Manifest, PrunePolicy, UnitOptions

PREFIX = "gitopsd.io/"
WAVE = "gitopsd.io/wave"
ARGOCD_WAVE = "argocd.argoproj.io/sync-wave"
PRUNE = "gitopsd.io/prune"
GATE = "gitopsd.io/gate"
IGNORE = "gitopsd.io/ignore"
RECREATE = "gitopsd.io/recreate"

KNOWN = frozenset({WAVE, PRUNE, GATE, IGNORE, RECREATE, TRACKING_ANNOTATION})
_INTEGER = re.compile(r"[+-]?[0-9]{1,9}")

Choice = TypeVar("Choice", bound=StrEnum)


def read_options(manifest: Manifest) -> tuple[UnitOptions, int, tuple[str, ...]]:
    """The options of an object, its wave, and what is wrong with its annotations; what is wrong counts as not there."""
    reader = _Reader(manifest)
    wave = reader.wave()
    options = UnitOptions(
        prune=reader.choice(PRUNE, PrunePolicy.DEFAULT),
        gate=reader.choice(GATE, GateRole.DEFAULT),
        ignore=reader.paths(),
        recreate=reader.flag(RECREATE),
    )
    return options, wave, tuple(reader.problems)


class _Reader:
    def __init__(self, manifest: Manifest) -> None:
        metadata = manifest.get("metadata") or {}
        annotations: Any = metadata.get("annotations") or {}
        self.texts: dict[str, str] = {}
        self.problems: list[str] = []
        for key, value in annotations.items() if isinstance(annotations, dict) else ():
            if key not in KNOWN and key != ARGOCD_WAVE:
                if str(key).startswith(PREFIX):
                    known = ", ".join(sorted(KNOWN - {TRACKING_ANNOTATION}))
                    self.problems.append(f"annotation {key} is not known; there are: {known}")
            elif not isinstance(value, str):
                self.problems.append(f"annotation {key} must be text: put its value in quotes")
            else:
                self.texts[key] = value.strip()

    def wave(self) -> int:
        """Ours wins, so that a repository can serve both deployers while it moves."""
        for key in (WAVE, ARGOCD_WAVE):
            text = self.texts.get(key)
            if text is None:
                continue
            if _INTEGER.fullmatch(text):
                return int(text)
            self.problems.append(f'annotation {key} is {text!r}; it must be an integer such as "-5" or "10"')
        return 0

    def choice(self, key: str, default: Choice) -> Choice:
        text = self.texts.get(key)
        if text is None:
            return default
        allowed = [item for item in type(default) if item is not default]
        for item in allowed:
            if item.value == text:
                return item
        self.problems.append(f"annotation {key} is {text!r}; it must be {' or '.join(item.value for item in allowed)}")
        return default

    def flag(self, key: str) -> bool:
        text = self.texts.get(key, "false")
        if text not in {"true", "false"}:
            self.problems.append(f'annotation {key} is {text!r}; it must be "true" or "false"')
        return text == "true"

    def paths(self) -> tuple[str, ...]:
        text = self.texts.get(IGNORE, "")
        try:
            paths = split_paths(text)
        except ValueError as error:
            self.problems.append(f"annotation {IGNORE}: {error}")
            return ()
        refused = [path for path in paths if not ignorable(path)]
        self.problems += [
            f"annotation {IGNORE}: {path} identifies the object and cannot be ignored" for path in refused
        ]
        return tuple(path for path in paths if path not in refused)
