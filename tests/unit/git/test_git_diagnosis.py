"""What git's own words are taken for. Every text here was written by a real git or ssh."""

from __future__ import annotations

import pytest

from gitopsd.git.diagnosis import FaultKind, diagnose, last_line

URL = "https://git.example/team/certificate-timeout.git"
K = FaultKind


@pytest.mark.parametrize(
    ("output", "kind"),
    [
        ("fatal: couldn't find remote ref refs/heads/nope", K.BRANCH_MISSING),
        (f"fatal: unable to access '{URL}/': Could not resolve host: git.example", K.UNREACHABLE),
        (f"fatal: unable to access '{URL}/': Failed to connect to git.example port 443 after 0 ms: Couldn't connect",
         K.UNREACHABLE),
        (f"fatal: unable to access '{URL}/': The requested URL returned error: 403", K.AUTH),
        ("fatal: could not read Username for 'https://git.example': terminal prompts disabled", K.AUTH),
        (f"remote: Invalid username or password.\nfatal: Authentication failed for '{URL}/'", K.AUTH),
        (f"fatal: unable to access '{URL}/': The requested URL returned error: 302", K.REDIRECT),
        (f"fatal: unable to access '{URL}/': The requested URL returned error: 503", K.SERVER),
        (f"fatal: unable to access '{URL}/': The requested URL returned error: 429", K.SERVER),
        (f"fatal: unable to access '{URL}/': Empty reply from server", K.SERVER),
        (f"fatal: repository '{URL}/' not found", K.NOT_FOUND),
        (f"fatal: {URL}/info/refs not valid: is this a git repository?", K.NOT_FOUND),
        (f"fatal: unable to access '{URL}/': server certificate verification failed. CAfile: none", K.TLS),
        (f"fatal: unable to access '{URL}/': SSL certificate problem: self-signed certificate", K.TLS),
        (f"fatal: unable to access '{URL}/': Operation too slow. Less than 1 bytes/sec transferred the last 1 seconds",
         K.TIMEOUT),
        ("error: RPC failed; curl 18 transfer closed with outstanding read data remaining\nfatal: early EOF\n"
         "fatal: fetch-pack: invalid index-pack output", K.SERVER),
        ("git@git.example: Permission denied (publickey).\nfatal: Could not read from remote repository.\n\n"
         "Please make sure you have the correct access rights\nand the repository exists.", K.AUTH),
        ('Load key "/etc/key": error in libcrypto\ngit@git.example: Permission denied (publickey).', K.AUTH),
        ("No ED25519 host key is known for git.example and you have requested strict checking.\n"
         "Host key verification failed.\nfatal: Could not read from remote repository.", K.HOST_KEY),
        ("@@@@@@@@@@@@@@@@\n@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @\nHost key verification failed.",
         K.HOST_KEY),
        ("ssh: connect to host git.example port 22: Connection refused\nfatal: Could not read from remote repository.",
         K.UNREACHABLE),
        ("ssh: Could not resolve hostname git.example: Name or service not known", K.UNREACHABLE),
        ("Connection timed out during banner exchange\nfatal: Could not read from remote repository.", K.TIMEOUT),
        ("fatal: '/srv/nope' does not appear to be a git repository\nfatal: Could not read from remote repository.",
         K.NOT_FOUND),
        ("fatal: detected dubious ownership in repository at '/srv/git/x.git'", K.AUTH),
        ("fatal: write error: No space left on device\nfatal: fetch-pack: invalid index-pack output", K.DISK),
        ("error: cannot lock ref 'refs/remotes/x/main': Unable to create '/m/x.lock': File exists.", K.LOCKED),
        ("error: object file objects/ab/cd is empty\nfatal: loose object abcd (stored in objects/ab/cd) is corrupt",
         K.DAMAGED),
        ("fatal: pack has 1 unresolved delta", K.OTHER),
        ("remote: fatal: bad object 1234\nfatal: protocol error: bad pack header", K.OTHER),
        ("", K.OTHER),
    ],
)  # fmt: skip
def test_a_failure_is_sorted_by_its_words_and_not_by_those_of_the_url(output: str, kind: FaultKind) -> None:
    fault = diagnose(output, host="git.example", url=URL)
    assert fault.kind is kind
    assert fault.message
    assert fault.remedy or kind is K.BRANCH_MISSING
    assert kind in {K.DISK, K.LOCKED, K.DAMAGED} or "git.example" in fault.message


def test_the_time_limit_is_told_in_seconds() -> None:
    fault = diagnose("", host="git.example", url=URL, timed_out=1.5)
    assert (fault.kind, fault.message) == (K.TIMEOUT, "git.example did not answer within 1.5 seconds")


def test_an_unknown_failure_shows_the_telling_line_and_no_control_sequence() -> None:
    advice = "fatal: Could not read from remote repository.\n\nPlease make sure\nand the repository exists."
    output = f"fatal: something new\x1b[31m happened\n{advice}"
    assert last_line(output) == "something new [31m happened"
    assert last_line("") == "it gave no reason"
