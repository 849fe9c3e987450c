"""The threads that watch clusters: one for each kind of each cluster that some stack tracks, shared by all stacks."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Iterator, Mapping
from threading import Event, Lock, Thread

import structlog

from gitopsd.kinds.marks import PART_OF_LABEL
from gitopsd.model.errors import CommitError, EnvironmentFault, GitopsdError, Problem
from gitopsd.model.ids import UnitId
from gitopsd.model.ports import Cluster, Watch
from gitopsd.model.watching import Blind, Seen, Sighted, WatchEvent, Whole
from gitopsd.stack.vigil import Interest, Topic, Vigil

log = structlog.get_logger("gitopsd.watch")

MOST = 64
"""Kinds of one cluster that are watched for what stacks track. Each is a connection and a thread; kinds beyond are
looked at by the sweep."""

FIRST_RETRY, LONGEST_RETRY, LONGEST_RULES_RETRY = 1.0, 60.0, 3600.0
"""Seconds until a kind is tried again that could not be watched. Of rules a cluster may not have every kind."""

_ADMISSION, _EXTENSIONS = "admissionregistration.k8s.io", "apiextensions.k8s.io"
_DEFINITION = "CustomResourceDefinition"

RULES: tuple[tuple[str, str], ...] = (
    (_EXTENSIONS, _DEFINITION),
    (_ADMISSION, "MutatingWebhookConfiguration"),
    (_ADMISSION, "MutatingAdmissionPolicy"),
    (_ADMISSION, "MutatingAdmissionPolicyBinding"),
)
"""Kinds whose objects decide what becomes of all others: a change of one shows in no event of those."""


class Watches:
    """Opens, shares and ends watches. Safe from several threads."""

    def __init__(self, cluster: Callable[[str], Cluster], most: int = MOST) -> None:
        self._cluster, self._most = cluster, most
        self._lock = Lock()
        self._interests: dict[str, tuple[Vigil, Mapping[str, Interest]]] = {}
        self._streams: dict[Topic, _Stream] = {}
        self._ending: list[_Stream] = []
        self._stopped = False

    def tend(self, stack: str, vigil: Vigil, interests: Mapping[str, Interest]) -> None:
        """From now on watch for a stack what it has in each cluster, and nothing else. Raises EnvironmentFault for a
        cluster that cannot be connected to."""
        clusters = {name: self._cluster(name) for name in interests}
        with self._lock:
            known = self._interests.get(stack)
            same = known is not None and known[0] is vigil and known[1] == interests
            if self._stopped or (same and not self._moved(clusters)):
                return
            self._interests[stack] = (vigil, dict(interests))
            self._settle()
            for each, _ in self._interests.values():
                each.expect([topic for topic, stream in self._streams.items() if each in stream.listeners.values()])

    def drop(self, stack: str) -> None:
        """Watch nothing for a stack any more."""
        with self._lock:
            if self._interests.pop(stack, None) is not None:
                self._settle()

    def stop(self) -> None:
        """End every watch, and wait for the threads."""
        with self._lock:
            self._stopped = True
            self._interests.clear()
            self._settle()
            ending, self._ending = self._ending, []
        for stream in ending:
            stream.join()

    # ------------------------------------------------------------ with the lock held

    def _moved(self, clusters: Mapping[str, Cluster]) -> bool:
        """Whether a cluster is reached over another connection by now (its kubeconfig has changed)."""
        return any(
            stream.cluster is not clusters[topic.cluster]
            for topic, stream in self._streams.items()
            if topic.cluster in clusters
        )

    def _settle(self) -> None:
        """Bring the streams in line with what is wanted of them."""
        self._ending = [stream for stream in self._ending if stream.is_alive()]
        wanted = self._wanted()
        for topic, stream in list(self._streams.items()):
            if wanted.get(topic) != stream.listeners or stream.cluster is not self._cluster(topic.cluster):
                self._streams.pop(topic).end()
                self._ending.append(stream)
        for topic, listeners in wanted.items():
            if topic not in self._streams:
                stream = self._streams[topic] = _Stream(self._cluster(topic.cluster), topic, listeners)
                stream.start()

    def _wanted(self) -> dict[Topic, dict[str, Vigil]]:
        """Who listens to what; of each cluster so many kinds as may be watched, those of most stacks first."""
        found: dict[Topic, dict[str, Vigil]] = {}
        for vigil, interests in self._interests.values():
            for name, interest in interests.items():
                for group, kind in interest.kinds:
                    found.setdefault(Topic(name, group, kind), {})[interest.applyset] = vigil
                for group, kind in RULES if interest.kinds else ():
                    found.setdefault(Topic(name, group, kind, rules=True), {})[interest.applyset] = vigil
        kept: dict[Topic, dict[str, Vigil]] = {}
        room: dict[str, int] = {}
        for topic, listeners in sorted(found.items(), key=lambda each: (-len(each[1]), each[0])):
            left = room[topic.cluster] = room.get(topic.cluster, self._most) - (not topic.rules)
            if topic.rules or left >= 0:
                kept[topic] = listeners
        return kept


class _Stream(Thread):
    """One watch and its listeners, by their ApplySets."""

    def __init__(self, cluster: Cluster, topic: Topic, listeners: Mapping[str, Vigil]) -> None:
        super().__init__(name=f"watch-{topic}", daemon=True)
        self.cluster, self.topic, self.listeners = cluster, topic, dict(listeners)
        self._ended = Event()
        self._lock = Lock()
        self._watch: Watch | None = None
        self._generations: dict[UnitId, int] = {}
        self._version = ""

    def end(self) -> None:
        self._ended.set()
        with self._lock:
            if self._watch is not None:
                self._watch.close()

    def run(self) -> None:
        delay = FIRST_RETRY
        while not self._ended.is_set():
            try:
                for event in self._events():
                    self._tell(event)
                    delay = FIRST_RETRY
            except GitopsdError as error:
                fault = error if isinstance(error, EnvironmentFault) else EnvironmentFault(*error.problems)
                log.debug("cannot be watched", topic=str(self.topic), error=str(fault))
                self._tell(Blind(fault))
            except Exception:
                log.exception("a fault of gitopsd itself; the watch is opened again", topic=str(self.topic))
                self._tell(Blind(EnvironmentFault(Problem(f"the watch of {self.topic} broke"))))
            self._ended.wait(delay * random.uniform(0.8, 1.2))  # noqa: S311 - spreads load, guards nothing
            delay = min(delay * 2, LONGEST_RULES_RETRY if self.topic.rules else LONGEST_RETRY)

    def _events(self) -> Iterator[WatchEvent]:
        applysets: Collection[str] = () if self.topic.rules else tuple(self.listeners)
        watch = self.cluster.watch(self.topic.group, self.topic.kind, applysets)
        with self._lock:
            self._watch = watch
            if self._ended.is_set():
                watch.close()
        try:
            yield from watch.events()
        finally:
            watch.close()
            with self._lock:
                self._watch = None

    def _tell(self, event: WatchEvent) -> None:
        if self.topic.rules:
            self._tell_of_rules(event)
            return
        owner = event.live.labels.get(PART_OF_LABEL) if isinstance(event, Seen) else None
        if owner is not None and owner in self.listeners:
            self.listeners[owner].told(self.topic, event)
            return
        for vigil in self.listeners.values():
            vigil.told(self.topic, event)

    # ------------------------------------------------------------ what decides about others

    def _tell_of_rules(self, event: WatchEvent) -> None:
        """Only that a rule has changed counts: its status, labels and annotations decide about nothing."""
        if not isinstance(event, Seen):
            self._look_at_version(event)
            return
        live = event.live
        before = self._generations.get(live.id)
        self._generations[live.id] = live.generation
        if before == live.generation or (before is None and event.listed):
            return
        for vigil in set(self.listeners.values()):
            vigil.redefined(self.topic.cluster, self._ruled(live.id.name))

    def _look_at_version(self, event: WatchEvent) -> None:
        """An API server that comes back may be another program, with other defaults and other schemas."""
        if self.topic.kind != _DEFINITION or not isinstance(event, Whole | Sighted):
            return
        try:
            version = self.cluster.version()
        except EnvironmentFault as error:
            log.debug("version not known", cluster=self.topic.cluster, error=str(error))
            return
        before, self._version = self._version, version
        if before not in {"", version}:
            log.info("another version", cluster=self.topic.cluster, version=version, was=before)
            for vigil in set(self.listeners.values()):
                vigil.redefined(self.topic.cluster, None)

    def _ruled(self, name: str) -> tuple[str, str] | None:
        """The kind that a definition is about; None for a rule that may be about any."""
        if self.topic.kind != _DEFINITION:
            return None
        plural, _, group = name.partition(".")
        try:
            kinds = self.cluster.catalog(refresh=True).resources
        except (EnvironmentFault, CommitError):
            return None
        return next((key for key, each in kinds.items() if (each.plural, each.group) == (plural, group)), ("", ""))
