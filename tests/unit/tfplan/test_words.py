"""What Terraform writes: errors and their causes, locks, progress, and backends in code."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gitopsd.model.errors import Cause
from gitopsd.planning.resources import done_text
from gitopsd.tfplan import (
    Diagnostic,
    Scrubber,
    Stream,
    Trouble,
    cause,
    errors,
    own_backend,
    problem,
    read_lock,
    read_text,
    repository_path,
    trouble,
    warning_texts,
)

CAUSES = [
    # (summary, detail, what it is about)
    ("Saved plan is stale", "The given plan file can no longer be applied", Trouble.STALE),
    ("Error acquiring the state lock", "the state is already locked by another terraform client", Trouble.LOCKED),
    ('Backend initialization required, please run "terraform init"', "Reason: ...", Trouble.UNPREPARED),
    ("Module not installed", 'Run "terraform init" to install all modules', Trouble.UNPREPARED),
    ("Required plugins are not installed", "registry.terraform.io/hashicorp/x: ...", Trouble.UNPREPARED),
    ("Inconsistent dependency lock file", "To update: run:\n  terraform init -upgrade", Trouble.LOCK_FILE),
    ("Provider dependency changes detected", 'run "terraform init" without', Trouble.LOCK_FILE),
    (
        "Failed to install provider",
        "the local package for x 1.0.0 doesn't match any of the checksums previously recorded in the dependency lock",
        Trouble.LOCK_FILE,
    ),
    (
        "Failed to query available provider packages",
        "no available releases match the given constraints 9",
        Trouble.CODE,
    ),
    (
        "Failed to query available provider packages",
        "Could not retrieve the list of available versions for provider x: could not connect to registry.terraform.io: "
        "failed to request discovery document: dial tcp: lookup registry.terraform.io: no such host",
        Trouble.DOWNLOAD,
    ),
    ("Failed to install provider", "Error while installing x: could not query provider registry", Trouble.DOWNLOAD),
    ("Unsupported argument", 'An argument named "timeout" is not expected here.', Trouble.CODE),
    ("Invalid value for variable", "connection refused is no value", Trouble.CODE),
    ("Resource precondition failed", "Forbidden: 403", Trouble.CODE),
    ("Invalid provider configuration", "no valid credential sources found", Trouble.CREDENTIALS),
    ("creating S3 Bucket", "operation error: StatusCode: 403, api error AccessDenied: no", Trouble.CREDENTIALS),
    ("reading EC2 Instance", "api error ExpiredToken: The security token is expired", Trouble.CREDENTIALS),
    ('secrets is forbidden: User "x" cannot list resource', "", Trouble.CREDENTIALS),
    ("creating EC2 Instance", "api error RequestLimitExceeded: slow down", Trouble.THROTTLED),
    ("Error", "googleapi: Error 503: backend, StatusCode: 503", Trouble.THROTTLED),
    ('Post "https://h": dial tcp 127.0.0.1:9: connect: connection refused', "", Trouble.NETWORK),
    ('Get "https://h": context deadline exceeded', "", Trouble.NETWORK),
    ("Plugin did not respond", "The plugin encountered an error, and failed to respond", Trouble.CRASH),
    ("Failed to load plugin schemas", "Unrecognized remote plugin message", Trouble.CRASH),
    ("Failed to write plan", "write /run/x: no space left on device", Trouble.DISK),
    ("Failed to save state", "the server said no", Trouble.BACKEND),
    ("Error refreshing state: HTTP remote state endpoint requires something", "", Trouble.BACKEND),
    ("Execution halted", "", Trouble.INTERRUPTED),
    ('Workspace "blue" doesn\'t exist.', "", Trouble.NO_WORKSPACE),
    ("expected length of name to be in the range (3 - 63)", "with x.a", Trouble.UNKNOWN),
]


@pytest.mark.parametrize(("summary", "detail", "about"), CAUSES)
def test_what_an_error_is_about(summary: str, detail: str, about: Trouble) -> None:
    assert trouble(Diagnostic(summary, detail)) is about


UNKNOWN = Diagnostic("the provider says something")
PLACED = Diagnostic("the provider says something", file="main.tf", line=3)
CODE = Diagnostic("Unsupported argument")
NETWORK = Diagnostic("dial tcp: connection refused", file="main.tf", line=3)


@pytest.mark.parametrize(
    ("found", "applying", "expected"),
    [
        ([CODE], False, Cause.COMMIT),
        ([NETWORK], False, Cause.ENVIRONMENT),
        ([NETWORK], True, Cause.ENVIRONMENT),
        ([NETWORK, CODE], False, Cause.COMMIT),
        ([NETWORK, PLACED], False, Cause.ENVIRONMENT),
        ([NETWORK, UNKNOWN], True, Cause.ENVIRONMENT),
        ([PLACED], False, Cause.COMMIT),
        ([UNKNOWN], False, Cause.ENVIRONMENT),
        ([UNKNOWN], True, Cause.COMMIT),
        ([], True, Cause.ENVIRONMENT),
    ],
)
def test_who_can_end_it(found: list[Diagnostic], applying: bool, expected: Cause) -> None:
    assert cause(found, applying=applying) is expected


BOXED = """
\x1b[31m╷\x1b[0m
│ Error: Invalid index
│
│   on ../m/main.tf line 12, in resource "x" "a":
│   12:   v = local.list[7]
│     ├────────────────
│     │ local.list is list of string with 1 element
│
│ The given key does not identify an element in this collection value.
╵
╷
│ Warning: Old thing
│
│   with x.a,
│   on main.tf line 3, in resource "x" "a":
│    3: resource
│
│ Use the new one.
╵
"""


def test_boxes_for_people_are_read_without_snippets_and_values() -> None:
    first, second = read_text(BOXED)
    assert (first.summary, first.file, first.line, first.error) == ("Invalid index", "../m/main.tf", 12, True)
    assert first.detail == "The given key does not identify an element in this collection value."
    assert (second.error, second.address, second.file) == (False, "x.a", "main.tf")
    assert warning_texts((first, second), "infra", Scrubber()) == ("infra/main.tf:3: x.a: Old thing: Use the new one.",)
    assert errors((first, second, first)) == (first,)


def test_plain_words_are_one_error() -> None:
    assert read_text("no such\n  thing") == (Diagnostic("no such thing"),)
    assert read_text(" \n") == ()


def test_places_are_those_of_the_repository() -> None:
    found = problem(Diagnostic("S", "D", file="../m/x.tf", line=2), "infra/net", Scrubber(), unit="u")
    assert (found.file, found.line) == ("infra/m/x.tf", 2)
    assert repository_path("../../../etc/passwd", "infra") == ""
    assert repository_path("/var/lib/x.tf", "infra") == ""
    assert repository_path("main.tf", "") == "main.tf"
    assert len(problem(Diagnostic("S", "x" * 5000), "", Scrubber()).message) < 800


LOCK = """Error message: the state is already locked by another terraform client
Lock Info:
  ID:        4f9a-11
  Path:
  Operation: OperationTypeApply
  Who:       ci@runner-7
  Version:   1.11.4
  Created:   2026-11-22 22:00:00.123456789 +0000 UTC
  Info:

Terraform acquires a state lock"""


def test_a_lock_tells_its_owner() -> None:
    lock = read_lock(LOCK)
    assert lock is not None
    assert (lock.id, lock.who, lock.host, lock.operation) == (
        "4f9a-11",
        "ci@runner-7",
        "runner-7",
        "OperationTypeApply",
    )
    assert lock.created == datetime(2026, 11, 22, 22, 0, 0, 123456, UTC)
    assert str(lock) == "ci@runner-7 since 2026-11-22 22:00:00 UTC for apply (lock 4f9a-11)"
    assert read_lock("nothing of the kind") is None


def test_a_backend_that_shows_our_own_request_shows_no_owner() -> None:
    lock = read_lock(LOCK.replace("the state is already", "HTTP remote state already locked: ID=77-aa is"))
    assert lock is not None
    assert (lock.id, lock.who, lock.created) == ("77-aa", "", None)


def hook(kind: str, action: str, seconds: int = 0, address: str = "x.a") -> str:
    return json.dumps(
        {"type": kind, "hook": {"resource": {"addr": address}, "action": action, "elapsed_seconds": seconds}}
    )


def test_progress_in_few_words_and_what_was_made() -> None:
    stream = Stream()
    lines = [
        hook("apply_start", "create"),
        hook("apply_progress", "create", 20),
        hook("apply_complete", "create", 23),
        hook("apply_start", "delete", address="x.b"),
        hook("apply_errored", "delete", 1, address="x.b"),
        hook("provision_start", "create"),
        json.dumps({"type": "change_summary"}),
        "no json",
        "",
    ]
    assert [told for line in lines if (told := stream.feed(line))] == [
        "creating x.a",
        "still creating x.a (20s)",
        "created x.a (23s)",
        "destroying x.b",
        "failed destroying x.b (1s)",
    ]
    assert stream.created == ("x.a",)
    assert stream.odd == ["no json"]


def test_every_resource_is_told_with_what_became_of_it() -> None:
    stream = Stream()
    for line in (
        hook("apply_start", "delete"),
        hook("apply_complete", "delete", 2),
        hook("apply_start", "create"),
        hook("apply_complete", "create", 3),  # in its place
        hook("apply_complete", "create", 1, "x.first"),
        hook("apply_complete", "delete", 1, "x.first"),  # made before the old one went
        hook("apply_complete", "delete", 4, "x.half"),
        hook("apply_errored", "create", 5, "x.half"),
        hook("apply_start", "read", address="data.x.read"),
        hook("apply_complete", "read", address="data.x.read"),
        hook("apply_complete", "update", address="x.changed"),
        hook("apply_start", "create", address="x.open"),
        hook("apply_progress", "create", 10, "x.open"),
    ):
        stream.feed(line)
    assert [(r.address, r.action.value, r.end.value, r.seconds) for r in stream.resources] == [
        ("x.a", "replace", "done", 5),
        ("x.first", "replace", "done", 2),
        ("x.half", "destroy", "done", 4),
        ("x.half", "create", "failed", 5),
        ("x.changed", "update", "done", 0),
        ("x.open", "create", "unknown", 10),
    ]
    assert done_text(stream.resources) == (
        "replaced x.a, x.first; destroyed x.half; failed to create x.half; changed x.changed; may have created x.open"
    )


def test_an_init_preface_is_no_error() -> None:
    stream = Stream()
    for summary in ("Terraform encountered problems during initialisation, including problems\nwith", "Real"):
        stream.feed(json.dumps({"type": "diagnostic", "diagnostic": {"severity": "error", "summary": summary}}))
    assert [d.summary for d in stream.diagnostics] == ["Real"]


# ---------------------------------------------------------------- backends in code

BACKENDS = [
    ('terraform {\n  backend "s3" {\n  }\n}\n', "s3"),
    ('terraform {\n  cloud {\n    organization = "x"\n  }\n}', "cloud"),
    ('terraform {\n  required_providers {\n    a = {\n      source = "b/c"\n    }\n  }\n  backend "gcs" {}\n}', "gcs"),
    ('# terraform { backend "s3" {} }\n', ""),
    ('/* terraform {\n backend "s3" {}\n} */ // terraform { backend "s3" {}\n', ""),
    ('locals {\n  t = "terraform { backend \\"s3\\" { } }"\n}\n', ""),
    ('locals {\n  t = <<-EOT\n    terraform {\n      backend "s3" {\n      }\n    }\n    EOT\n}\n', ""),
    ('locals {\n  t = "${"}"} { ${jsonencode({a = "}"})}"\n}\nterraform {\n  backend "http" {}\n}', "http"),
    ('locals {\n  t = "$${"\n}\nterraform {\n  backend "http" {}\n}', "http"),
    ('resource "backend" "s3" {\n}\nterraform {\n  required_version = "1"\n}\n', ""),
    ('module "terraform" {\n  backend "s3" {\n  }\n}\n', ""),
    ('terraform {\n  provider_meta "x" {\n    backend "s3" {\n    }\n  }\n}\n', ""),
    ("terraform {", ""),
    ('"', ""),
]


@pytest.mark.parametrize(("text", "expected"), BACKENDS)
def test_only_a_backend_block_is_one(text: str, expected: str) -> None:
    assert own_backend({"main.tf": text.encode()}) == expected


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({"terraform": {"backend": {"s3": {}}}}, "s3"),
        ({"terraform": [{"backend": [{"s3": {}}]}]}, "s3"),
        ({"terraform": {"cloud": {}}}, "cloud"),
        ({"terraform": {"required_version": "1"}}, ""),
        ({"resource": {"backend": {"s3": {}}}}, ""),
        ([], ""),
    ],
)
def test_backends_in_json(document: object, expected: str) -> None:
    assert own_backend({"main.tf.json": json.dumps(document).encode()}) == expected


@given(st.text(alphabet='terafombckd{}"\\$<-EOT\n #/*=', max_size=80))
def test_no_text_breaks_the_reader(text: str) -> None:
    own_backend({"main.tf": text.encode(), "x.tf.json": text.encode()})
    read_text(text)
