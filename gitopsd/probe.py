"""Asks the URLs that a stack names as checks of its gate."""

from __future__ import annotations

import urllib3

from gitopsd.model.live import Assessment, Health
from gitopsd.model.spec import HttpCheck

TIMEOUT = urllib3.Timeout(connect=3.0, read=5.0)
"""Seconds: a check that takes longer is not healthy."""


class HttpProbe:
    """The `Probe` port; safe from several threads. Redirects are answers of their own: they are not followed."""

    def __init__(self) -> None:
        self._pool = urllib3.PoolManager(timeout=TIMEOUT, retries=False)

    def __call__(self, check: HttpCheck) -> Assessment:
        try:
            answer = self._pool.request("GET", check.url, redirect=False, preload_content=False)
            answer.close()  # unread, however long it is; a connection with a rest of it in it serves nobody again
        except urllib3.exceptions.HTTPError as error:
            return Assessment(Health.PROGRESSING, "no answer", str(error))
        if answer.status != check.status:
            return Assessment(Health.PROGRESSING, f"status {answer.status}", f"{check.status} is wanted")
        return Assessment(Health.HEALTHY, f"status {answer.status}")
