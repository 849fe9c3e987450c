"""HTTPS requests to the components, each verified against the certificate which that component made for itself."""

from __future__ import annotations

import json
import ssl
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any


class Client:
    def __init__(self, server: str, authority: Path, token: str | None = None) -> None:
        self.server, self.authority, self.token = server, authority, token
        self._opener: urllib.request.OpenerDirector | None = None

    def _open(self) -> urllib.request.OpenerDirector:
        """At the first use, as a component writes its certificate some time after its start. No proxy: it is local."""
        if self._opener is None:
            context = ssl.create_default_context(cafile=str(self.authority))
            self._opener = urllib.request.build_opener(
                urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
            )
        return self._opener

    def call(self, method: str, path: str, body: object = None, timeout: float = 10) -> tuple[int, bytes]:
        """The status and the body of any answer; an OSError (ssl's and urllib's are such) when there is none."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.server + path, data, {"Content-Type": "application/json"}, method=method)
        if self.token:
            request.add_header("Authorization", f"Bearer {self.token}")
        try:
            with self._open().open(request, timeout=timeout) as response:
                return response.status, response.read()
        except urllib.error.HTTPError as problem:
            with problem:
                return problem.code, problem.read()

    def get(self, path: str) -> dict[str, Any] | None:
        """The object, or None when it cannot be had now."""
        try:
            status, body = self.call("GET", path)
        except OSError:
            return None
        if status != 200:
            return None
        value: dict[str, Any] = json.loads(body)
        return value

    def healthy(self, path: str) -> bool:
        try:
            return self.call("GET", path, timeout=2)[0] == 200
        except OSError:
            return False
