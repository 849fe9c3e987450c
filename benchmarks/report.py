"""The figures as a table for people."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

Row = tuple[str, str, str, str]

SORTS = {"writes": "writes", "dryRuns": "dry runs", "reads": "reads", "parent": "parent", "lease": "Lease"}


_HEAD = ("| figure | gitopsd | floor | ratio |", "|---|---|---|---|")


def table(found: dict[str, Any]) -> str:
    """Markdown, so that it can be put into a document as it is."""
    there = found["machine"]
    lines = [
        f"{there['cores']} cores, {there['memoryGiB']} GiB, Python {there['python']} on {there['system']}; "
        f"load before: {there['loadBefore']}" + ("" if there["quiet"] else " - NOT A QUIET MACHINE")
    ]
    for size, figures in found["sizes"].items():
        lines += ["", f"**{size} objects**", "", *_HEAD]
        lines += [f"| {' | '.join(row)} |" for row in _rows(figures)]
    if "drift" in found:
        lines += ["", f"**Drift, {found['drift']['tracked']} objects**", "", *_HEAD]
        lines += [f"| {' | '.join(row)} |" for row in _drift(found["drift"])]
    if "kustomize" in found:
        figures = found["kustomize"]
        lines += ["", f"**Kustomize, an overlay of {figures['objects']} objects**", "", *_HEAD]
        lines += [f"| {' | '.join(row)} |" for row in _times("push of one patch to live", figures, "live")]
        lines += [f"| {' | '.join(row)} |" for row in _times("push of one patch, CPU", figures, "cpu")]
    if "terraform" in found:
        figures = found["terraform"]
        lines += ["", f"**{figures['program']}, {figures['resources']} resources**", "", *_HEAD]
        lines += [f"| {' | '.join(row)} |" for row in _modules(figures)]
    if "sealed" in found:
        figures = found["sealed"]
        lines += ["", f"**{figures['secrets']} sealed secrets, 4096 bit**", "", *_SEALED]
        lines += [f"| {' | '.join(row)} |" for row in _secrets(figures)]
    return "\n".join(lines)


_SEALED = ("| story | opened | writes | wall | CPU | bare RSA and AES |", "|---|---|---|---|---|---|")


def _secrets(figures: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    stories = {
        "first": "first deploy",
        "other": "a commit about something else",
        "rotation": "all resealed for a new key",
    }
    for key, name in stories.items():
        story, bare = figures[key], figures["bare"].get(key)
        spans = f"{story['good']['median']:g} ms", f"{story['cpu']['median']:g} ms"
        yield name, str(story["opened"]), str(story["writes"]), *spans, f"{bare['median']:g} ms" if bare else "0"
    story = figures["restart"]
    spans = f"{story['rest']['median']:g} ms", f"{story['cpu']['median']:g} ms"
    yield "restart, to the end of the first sweep", str(story["opened"]), "0", *spans, "0"


def _rows(figures: dict[str, Any]) -> Iterator[Row]:
    for what, figure in (("push of one value", figures["push"]), ("cold apply", figures["cold"])):
        yield from _times(f"{what} to live", figure["wall"], "live")
        yield from _times(f"{what} to good", figure["wall"], "good")
        yield from _times(f"{what}, CPU", figure["cpu"], "daemon")
    if "kubectlMs" in figures["cold"]:
        kubectl = figures["cold"]["kubectlMs"]
        yield ("the same by `kubectl apply --server-side --validate=ignore`", f"{kubectl:g} ms", "", "")
    requests = figures["requests"]
    yield ("requests of a push", _counts(requests["push"]), "writes 1", "")
    idle = requests["pollsWithoutNews"]
    yield (f"requests of {idle['polls']} polls without news", _counts(idle), "0", "")
    yield ("requests of a sweep at rest", _counts(requests["sweepAtRest"]), "", "")
    yield (
        "requests of a cold apply",
        _counts(figures["cold"]["requests"]),
        _counts(figures["cold"]["floorRequests"]),
        "",
    )
    yield from _times("`gitopsd status`, wall", figures["status"]["wall"], "status")
    yield from _times("`gitopsd status`, CPU", figures["status"]["cpu"], "status")
    rss = figures["memory"]
    yield ("memory at rest", f"{rss['daemonMiB']} MiB", f"{rss['pythonMiB']} MiB", f"{rss['ratio']['python']}")
    yield (
        "memory at rest, beside its imports",
        f"{rss['daemonMiB']} MiB",
        f"{rss['importsMiB']} MiB",
        f"{rss['ratio']['imports']}",
    )
    yield ("CPU at rest with a poll a second", f"{rss['cpuShareAtRest']:.1%}", "", "")
    yield from _start(figures["start"])


def _start(figures: dict[str, Any]) -> Iterator[Row]:
    yield ("start to the last request", f"{figures['quietMs']} ms", f"{figures['floorMs']} ms", "")
    yield ("start, CPU", f"{figures['cpuMs']} ms", "", "")
    yield ("requests of a start", _counts(figures["requests"]), "", "")
    lost = figures["lost"]
    yield ("start without its state directory", f"{lost['quietMs']} ms", f"{figures['floorMs']} ms", "")
    yield ("requests of that", _counts(lost["requests"]), "", "")
    idle = figures["idle"]
    yield (f"requests in {idle['seconds']:g} s of rest", str(idle["requests"]), "0", "")
    yield (f"CPU in {idle['seconds']:g} s of rest", f"{idle['cpuMs']} ms", "", "")


def _drift(figures: dict[str, Any]) -> Iterator[Row]:
    healed, floor = figures["healed"], figures["floor"]
    edits = figures["edits"]
    yield (f"{edits} edits, each to healed, p50", f"{healed['p50']} ms", f"{floor['p50']} ms", str(figures["ratio"]))
    yield ("p99", f"{healed['p99']} ms", f"{floor['p99']} ms", "")
    yield ("CPU of one", f"{figures['cpuMsEach']} ms", "", "")
    yield ("requests of one", ", ".join(f"{n} {c}" for n, c in figures["requestsEach"].items() if c), "writes 1", "")


def _modules(figures: dict[str, Any]) -> Iterator[Row]:
    yield from _times("init and plan", figures["initAndPlan"], "gitopsd")
    yield from _times("plan", figures["plan"], "gitopsd")
    yield from _times("apply of the saved plan", figures["apply"], "gitopsd")
    yield from _times("first deploy to good", figures["deploy"], "good")
    idle = figures["idle"]
    yield from _times(f"push of one value beside {idle['modules']} idle modules, to good", idle, "good")
    yield (f"programs started for {idle['goodMs']['repeats'] + 1} such pushes", str(idle["programsStarted"]), "0", "")


def _times(name: str, figure: dict[str, Any], which: str) -> Iterator[Row]:
    yield (name, _span(figure[f"{which}Ms"]), _span(figure["floorMs"]), f"{figure['ratio'][which]}")


def _span(found: dict[str, Any]) -> str:
    return f"{found['median']:g} ms ({found['least']:g}-{found['most']:g})"


def _counts(found: dict[str, int]) -> str:
    parts = [f"{name} {found[sort]}" for sort, name in SORTS.items() if found.get(sort)]
    return ", ".join(parts) or "0"
