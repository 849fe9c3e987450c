"""One branch of one repository: fetched into a mirror, read from there."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from pathlib import Path
from urllib.parse import quote

import structlog

from gitopsd.git.commits import Commit, parse_commit
from gitopsd.git.credentials import Access, read_access
from gitopsd.git.diagnosis import FaultKind, GitFault, diagnose, last_line
from gitopsd.git.difference import TooDifferent, difference, patched
from gitopsd.git.endpoint import Endpoint
from gitopsd.git.history import LOG_FORMAT, parse_log
from gitopsd.git.listing import Listing, parse_blobs, parse_listing
from gitopsd.git.mirror import Mirror
from gitopsd.git.names import is_object_id, is_ref_name
from gitopsd.git.process import Finished
from gitopsd.git.reader import FEW, Silent
from gitopsd.git.settings import SourceSettings, check_settings
from gitopsd.git.tree import GitTree
from gitopsd.model.errors import EnvironmentFault, NeedsPerson, Problem, UsageError
from gitopsd.model.units import Revision

log = structlog.get_logger("gitopsd.git")

FIRST_FETCH_FACTOR = 10
ASKED_REF = "refs/gitopsd/asked"
_CACHED_COMMITS = 8
_KNOWN_COMMITS = 1024
_NEAR = 64
"""Commits that are walked one by one; a longer way is left to git."""
_SHOWN_BRANCHES = 10
_FETCH = ("fetch", "--quiet", "--force", "--no-tags", "--no-write-fetch-head", "--no-auto-maintenance")
_FETCH_ALONE = (*_FETCH, "--no-recurse-submodules", "--no-show-forced-updates")


def open_source(settings: SourceSettings, mirror_dir: Path) -> GitSource:
    """The source that `settings` describe, with its mirror in `mirror_dir`; nothing is asked or written before the
    first use. Raises ConfigurationError for settings that cannot work."""
    return GitSource(settings, check_settings(settings), mirror_dir)


class GitSource:
    """A `Source`. Safe to use from several threads; fetches of one source wait for each other."""

    def __init__(self, settings: SourceSettings, endpoint: Endpoint, mirror_dir: Path) -> None:
        self.settings = settings
        self._endpoint = endpoint
        self._mirror = Mirror(settings, endpoint, mirror_dir)
        # A head is of one URL and one branch: after a change of either there is none until the next fetch.
        place = hashlib.sha256(f"{settings.url}\0{settings.branch}".encode()).hexdigest()[:12]
        self._head_ref = f"refs/remotes/{place}/{settings.branch}"
        self._listings: OrderedDict[str, Listing] = OrderedDict()
        self._listings_lock = threading.Lock()
        self._held: dict[
            str, tuple[int, dict[str, str]]
        ] = {}  # by stack: the refs that hold its commits, in which mirror
        self._commits: OrderedDict[str, Commit] = OrderedDict()  # what they say never changes, but they may get lost
        self._seen: set[str] = set()  # commits that were here after the last fetch, which alone takes any away

    @property
    def name(self) -> str:
        return self.settings.name

    # ------------------------------------------------------------ the remote

    def fetch(self) -> str:
        """Ask the remote and return the branch's head, whatever it was before. Raises EnvironmentFault when the server
        cannot be asked and NeedsPerson when it answered but the branch is missing or the repository empty."""
        accesses = read_access(self.settings, self._endpoint)
        with self._mirror.writing(self.settings.fetch_timeout) as lock:
            fault = self._download(f"refs/heads/{self.settings.branch}", self._head_ref, accesses, lock)
            if fault is not None:
                raise self._branch_missing(accesses)
            head = self.head()
            self._mirror.settle(self._head_ref, lock, head or "")
            self._seen = set()
        if head is None:
            raise self._error(GitFault(FaultKind.DAMAGED, "git fetched the branch, but the mirror does not have it"))
        return head

    def fetch_ref(self, name: str) -> str:
        """Ask the remote for another branch or a tag, to look at once, and return its commit; `head` is untouched.
        Raises UsageError if the remote has neither."""
        if not is_ref_name(name):
            raise self._unknown(name)
        accesses = read_access(self.settings, self._endpoint)
        with self._mirror.writing(self.settings.fetch_timeout) as lock:
            for kind in ("heads", "tags"):
                if self._download(f"refs/{kind}/{name}", ASKED_REF, accesses, lock) is None:
                    return self._parse(name, ASKED_REF)
        raise self._unknown(name)

    def close(self) -> None:
        """End what still runs; the source cannot be used afterwards."""
        self._mirror.close()

    def _download(self, remote_ref: str, ref: str, accesses: Sequence[Access], lock: int) -> GitFault | None:
        """Fetch one ref; the fault if the remote has no such ref, and an exception for every other failure."""
        self._mirror.prepare()
        self._seen = set()
        fault = self._ask(remote_ref, ref, accesses, lock)
        if fault is not None and fault.kind is FaultKind.DAMAGED:
            if self._mirror.verify():
                message = f"git could not take what {self._endpoint.host} sent: {fault.detail}"
                raise self._error(GitFault(FaultKind.SERVER, message, "have the repository checked there (git fsck)"))
            self._mirror.prepare()
            fault = self._ask(remote_ref, ref, accesses, lock)
        if fault is None or fault.kind is FaultKind.BRANCH_MISSING:
            return fault
        raise self._error(fault)

    def _ask(self, remote_ref: str, ref: str, accesses: Sequence[Access], lock: int) -> GitFault | None:
        timeout = self.settings.fetch_timeout * (1 if self.head() else FIRST_FETCH_FACTOR)
        arguments = (*_FETCH_ALONE, "--", self._endpoint.url, f"+{remote_ref}:{ref}")
        fault = None
        for access in accesses:
            finished = self._mirror.git.run(
                *arguments, timeout=timeout, environment=access.environment, inherit=(lock,)
            )
            fault = None if finished.ok else self._diagnose(finished, access)
            if fault is None or fault.kind is not FaultKind.AUTH:
                break
        return fault

    def _diagnose(self, finished: Finished, access: Access) -> GitFault:
        output = access.scrub(finished.err)
        return diagnose(output, host=self._endpoint.host, url=self._endpoint.url, timed_out=finished.timed_out)

    def _error(self, fault: GitFault) -> EnvironmentFault:
        return EnvironmentFault(Problem(f"source {self.name}: {fault.message}", remedy=fault.remedy))

    def _branch_missing(self, accesses: Sequence[Access]) -> NeedsPerson | EnvironmentFault:
        """What to tell when the server has no such branch: which it has."""
        fault = None
        for access in accesses:
            listed = self._mirror.git.run(
                "ls-remote", "--heads", "--", self._endpoint.url,
                timeout=self.settings.fetch_timeout,
                environment=access.environment,
            )  # fmt: skip
            if listed.ok:
                lines = listed.out.decode(errors="replace").splitlines()
                return self._ask_person([line.partition("refs/heads/")[2] for line in lines])
            fault = self._error(self._diagnose(listed, access))
        return fault or EnvironmentFault(f"source {self.name}: the branches cannot be listed")

    def _ask_person(self, branches: list[str]) -> NeedsPerson:
        where, branch = f"source {self.name}: {self._endpoint.url}", self.settings.branch
        if not branches:
            return NeedsPerson(Problem(f"{where} is empty", remedy=f"push the branch {branch}"))
        some = ", ".join(branches[:_SHOWN_BRANCHES]) + (", ..." if len(branches) > _SHOWN_BRANCHES else "")
        remedy = f"push it, or correct `branch`; there are: {some}"
        return NeedsPerson(Problem(f"{where} has no branch {branch}", remedy=remedy))

    # ------------------------------------------------------------ the mirror

    def head(self) -> str | None:
        """The head as of the last fetch of this branch of this URL, also by an earlier process; None before it."""
        if not self._mirror.exists:
            return None
        return self._mirror.ref(self._head_ref)

    def has(self, commit: str) -> bool:
        seen = self._seen
        if commit not in seen and is_object_id(commit):
            seen.update(self._mirror.present([commit]))
        return commit in seen

    def resolve(self, name: str) -> str:
        """The full id of a commit of the mirror, from its id, the first digits of its id, or the name of the branch.
        Asks no remote (see `fetch_ref`). Raises UsageError if there is none."""
        if not is_ref_name(name):
            raise self._unknown(name)
        branch = self.settings.branch
        if name in {branch, "HEAD", f"refs/heads/{branch}", f"origin/{branch}"}:
            head = self.head()
            if head is None:
                raise UsageError(Problem(f"source {self.name}: nothing was fetched yet", remedy="run `gitopsd once`"))
            return head
        return self._parse(name, name)

    def is_ancestor(self, old: str, new: str) -> bool:
        """Whether `new` contains `old`; a commit contains itself. Raises EnvironmentFault if one is not here."""
        self._require(old)
        if self._line(new, old) is not None:
            return True
        return self._merge_base("--is-ancestor", old, new)

    def related(self, one: str, other: str) -> bool:
        """Whether two commits have an ancestor in common. Raises EnvironmentFault if one is not here."""
        return self._merge_base("--all", one, other)

    def revision(self, commit: str) -> Revision:
        """Who made a commit, when and what for. Raises EnvironmentFault if it is not here."""
        self._require(commit)
        known = self._commit(commit)
        if known is not None and known.revision is not None:
            return known.revision
        return parse_log(self._git("log", "-z", "-1", LOG_FORMAT, commit, "--").out)[0]

    def between(self, old: str, new: str, limit: int = 200) -> tuple[Revision, ...]:
        """The newest `limit` commits that `new` has and `old` has not, oldest first; all of `new`'s if `old` is unknown
        here."""
        self._require(new)
        line = self._line(new, old) if self.has(old) else None
        revisions = [c.revision for c in line or () if c.revision is not None]
        if line is not None and len(revisions) == len(line):
            return tuple(reversed(revisions[:limit]))
        without = [f"^{old}"] if self.has(old) else []
        listed = self._git("log", "-z", "--topo-order", f"--max-count={limit}", LOG_FORMAT, new, *without, "--")
        return tuple(reversed(parse_log(listed.out)))

    def tree(self, commit: str) -> GitTree:
        """The files of a commit. Raises EnvironmentFault if it is not here, or not whole."""
        with self._listings_lock:
            listing = self._listings.get(commit)
            if listing is not None:
                self._listings.move_to_end(commit)
        if listing is None:
            listing = self._listed_anew(commit) or self._list(commit)
            with self._listings_lock:
                self._listings[commit] = listing
                while len(self._listings) > _CACHED_COMMITS:
                    self._listings.popitem(last=False)
        return GitTree(commit, listing, self._contents)

    def keep(self, stack: str, commits: Sequence[str]) -> None:
        """Hold these commits (newest first) against gc as `refs/gitopsd/good/STACK/N`, and no others. One that the
        mirror does not have cannot be held, which is logged."""
        under = f"refs/gitopsd/good/{quote(stack, safe='')}/"
        here = self._mirror.present([commit for commit in commits if is_object_id(commit)])
        wanted = {f"{under}{number}": commit for number, commit in enumerate(commits) if commit in here}
        generation = self._mirror.generation
        known, existing = self._held.get(stack, (-1, {}))
        if known != generation:
            existing = self._mirror.refs(under) if self._mirror.exists else {}
        commands = [f"update {ref} {commit}" for ref, commit in wanted.items() if existing.get(ref) != commit]
        commands += [f"delete {ref}" for ref in existing if ref not in wanted]
        self._held.pop(stack, None)
        if commands:
            self._mirror.update_refs(commands)
        self._held[stack] = (generation, wanted)
        missing = [commit for commit in commits if commit not in here]
        if missing:
            log.warning("good commits are not in the mirror", source=self.name, stack=stack, commits=missing)

    # ------------------------------------------------------------ helpers

    def _git(self, *arguments: str, stdin: bytes = b"") -> Finished:
        """Run a command whose failure means that the mirror does not have what it should."""
        generation = self._mirror.generation
        finished = self._mirror.read_git().run(*arguments, stdin=stdin)
        if not finished.ok:
            self._seen = set()
            if finished.timed_out is None:
                self._mirror.suspect(generation, last_line(finished.err))
            raise self._mirror.failed(finished)
        return finished

    def _list(self, commit: str) -> Listing:
        self._require(commit)
        known = self._commit(commit)
        root = known.tree if known else self._git("log", "-1", "--format=%T", commit, "--").out.decode().strip()
        return parse_listing(root, self._git("ls-tree", "-r", "-t", "-z", "--long", root).out)

    def _listed_anew(self, commit: str) -> Listing | None:
        """The listing of a commit out of the newest one that is known; None where git had better list everything."""
        self._require(commit)
        with self._listings_lock:
            before = next(reversed(self._listings.values()), None)
        now = self._commit(commit)
        if before is None or now is None or before.unusable or before.submodules:
            return None
        try:
            found = difference(self._tree_bytes, before.oids[""], now.tree)
            new = sorted({oid for _, oid in found.files.values()})
            sizes = {
                oid: head.size
                for at in range(0, len(new), FEW)
                for oid, head in self._mirror.reader().heads(new[at : at + FEW]).items()
            }
        except (TooDifferent, Silent):
            return None
        return patched(before, now.tree, found, sizes)

    def _tree_bytes(self, oid: str) -> bytes:
        found = self._mirror.reader().objects([oid]).get(oid)
        if found is None or found.kind != "tree":
            raise Silent(f"{oid} is no tree here")
        return found.data

    def _commit(self, oid: str) -> Commit | None:
        """What a commit says; None where git has to be asked otherwise."""
        known = self._commits.get(oid)
        if known is not None:
            return known
        try:
            found = self._mirror.reader().objects([oid]).get(oid)
            if found is None or found.kind != "commit":
                return None
            known = parse_commit(oid, found.data)
        except (Silent, ValueError):
            return None
        self._commits[oid] = known
        while len(self._commits) > _KNOWN_COMMITS:
            self._commits.popitem(last=False)
        return known

    def _line(self, new: str, old: str) -> list[Commit] | None:
        """The commits from `new` down to but not with `old`, if each has one parent and there are not many."""
        line: list[Commit] = []
        here = new
        while here != old:
            commit = self._commit(here)
            if commit is None or len(commit.parents) != 1 or len(line) >= _NEAR:
                return None
            line.append(commit)
            here = commit.parents[0]
        return line

    def _contents(self, oids: Iterable[str]) -> dict[str, bytes]:
        wanted = sorted(set(oids))
        if not wanted:
            return {}
        if len(wanted) <= FEW:
            try:
                few = self._mirror.reader().objects(wanted)
            except Silent:
                few = {}
            if len(few) == len(wanted):
                return {oid: found.data for oid, found in few.items()}
        generation = self._mirror.generation
        finished = self._git("cat-file", "--batch", "--buffer", stdin="".join(f"{oid}\n" for oid in wanted).encode())
        try:
            blobs = parse_blobs(finished.out)
        except ValueError:
            blobs = {}
        lost = [oid for oid in wanted if oid not in blobs]
        if lost:
            self._mirror.suspect(generation, f"object {lost[0]} cannot be read")
            raise self._mirror.failed(Finished(1, b"", f"object {lost[0]} cannot be read"))
        return blobs

    def _merge_base(self, option: str, one: str, other: str) -> bool:
        self._require(one)
        self._require(other)
        finished = self._mirror.read_git().run("merge-base", option, one, other)
        if finished.timed_out is not None or finished.status not in {0, 1}:
            raise self._mirror.failed(finished)
        return finished.status == 0

    def _parse(self, name: str, expression: str) -> str:
        if not self._mirror.exists:
            raise self._unknown(name)
        finished = self._mirror.read_git().run("rev-parse", "--verify", "--end-of-options", f"{expression}^{{commit}}")
        if finished.timed_out is not None:
            raise self._mirror.failed(finished)
        if "is ambiguous" in finished.err:
            raise UsageError(
                Problem(f"source {self.name}: several commits begin with {name}", remedy="give more digits")
            )
        if not finished.ok:
            raise self._unknown(name)
        return finished.out.decode().strip()

    def _unknown(self, name: str) -> UsageError:
        remedy = f"give a commit of the branch {self.settings.branch}, or fetch first"
        return UsageError(Problem(f"source {self.name}: {name!r} names no commit here", remedy=remedy))

    def _require(self, commit: str) -> None:
        if not self.has(commit):
            raise self._absent(commit)

    def _absent(self, commit: str) -> EnvironmentFault:
        message = f"source {self.name}: the mirror has no commit {commit or '(none)'}"
        return EnvironmentFault(Problem(message, remedy="fetch; a commit that the remote no longer has is lost"))
