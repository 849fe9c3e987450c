"""The `BlobCache` port in a dictionary."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


class MemoryCache:
    """Remembers everything; `gets` and `puts` count the conversations, `stored` is the contents."""

    def __init__(self) -> None:
        self.stored: dict[str, bytes] = {}
        self.gets = 0
        self.puts = 0

    def get(self, keys: Sequence[str]) -> dict[str, bytes]:
        self.gets += 1
        return {key: self.stored[key] for key in keys if key in self.stored}

    def put(self, items: Mapping[str, bytes]) -> None:
        self.puts += 1
        self.stored.update(items)
