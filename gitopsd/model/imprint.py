"""What of an object's metadata drift is judged by."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Imprint:
    """An object at one moment, by its metadata alone and without its values: small enough to keep one for each.

    `version` is the resourceVersion as a number: the counter is one for the whole cluster and is comparable (KEP-5504);
    0 where a server's is none. `own` is a digest of our entry of managedFields (version of the API, owned set without
    what is left to others, time), "" without one; `marks` one of the labels and annotations that we own. `others` has
    every other entry: who ("manager operation apiVersion subresource") and a digest of what, in order.
    """

    uid: str
    version: int
    generation: int = 0
    own: str = ""
    marks: str = ""
    others: tuple[tuple[str, str], ...] = ()
    terminating: bool = False
