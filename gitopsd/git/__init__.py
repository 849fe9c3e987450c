"""The adapter between a git repository and the program: a bare mirror on this host, read through git itself."""

from __future__ import annotations

from gitopsd.git.settings import SourceSettings
from gitopsd.git.source import GitSource, open_source

__all__ = ["GitSource", "SourceSettings", "open_source"]
