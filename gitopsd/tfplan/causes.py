"""Whose fault an error of Terraform is. The rules are data: the first that fits decides."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum, auto

from gitopsd.model.errors import Cause
from gitopsd.tfplan.diagnostics import Diagnostic


class Trouble(Enum):
    """What an error is about."""

    STALE = auto()  # the saved plan no longer fits the state
    LOCKED = auto()
    UNPREPARED = auto()  # init has to run (again)
    NO_WORKSPACE = auto()
    CODE = auto()
    LOCK_FILE = auto()
    BACKEND = auto()
    CREDENTIALS = auto()
    THROTTLED = auto()
    DOWNLOAD = auto()
    NETWORK = auto()
    CRASH = auto()
    DISK = auto()
    INTERRUPTED = auto()
    UNKNOWN = auto()


CAUSES = {
    Trouble.CODE: Cause.COMMIT,
    Trouble.LOCK_FILE: Cause.COMMIT,
    Trouble.UNKNOWN: Cause.COMMIT,
}
"""Everything else is the environment's."""

REMEDIES = {
    Trouble.LOCK_FILE: "run `terraform init` and `terraform providers lock` for this host's platform, and commit "
    ".terraform.lock.hcl",
    Trouble.BACKEND: "check that the backend of the state can be reached from this host",
    Trouble.CREDENTIALS: "check the credentials in `terraform.env` and `terraform.envFiles` of the host's "
    "configuration",
    Trouble.DOWNLOAD: "check that the provider's registry or mirror can be reached, and `terraform.cliConfig`",
    Trouble.DISK: "free some space",
    Trouble.CRASH: "look at the provider's version; the next attempt may do",
}


@dataclass(frozen=True, slots=True)
class Rule:
    """`pattern` is looked for in the summary, or with `anywhere` also in the detail."""

    trouble: Trouble
    pattern: str
    anywhere: bool = False

    def fits(self, diagnostic: Diagnostic) -> bool:
        return (
            re.search(self.pattern, diagnostic.text if self.anywhere else diagnostic.summary, re.IGNORECASE) is not None
        )


def _any(*patterns: str) -> str:
    return "|".join(patterns)


RULES: tuple[Rule, ...] = (
    Rule(Trouble.STALE, r"^saved plan (is stale|does not match)"),
    Rule(Trouble.LOCKED, r"acquiring the state lock|state is already locked|workspace (is )?(already )?locked"),
    Rule(Trouble.LOCK_FILE, r"^(inconsistent dependency lock file|provider dependency changes detected)"),
    Rule(
        Trouble.LOCK_FILE,
        _any(
            r"does(n't| not) match (any of )?.{0,40}checksums",
            r"checksums? (previously )?recorded in the dependency lock",
            r"locked provider .* does not match configured version constraint",
        ),
        True,
    ),
    Rule(
        Trouble.UNPREPARED,
        _any(
            r"^(backend|module|provider)? ?(initialization|init) required",
            r"^backend configuration changed",
            r"^(required plugins are|module) not installed",
            r"^module (source has|version requirements have) changed",
            r"^missing required provider plugins",
            r"^cached package for .* does not match",
        ),
    ),
    Rule(Trouble.UNPREPARED, r"please run \"?(terraform|tofu) init|run \"(terraform|tofu) init( -upgrade)?\"", True),
    Rule(Trouble.NO_WORKSPACE, r"^workspace .* (doesn't|does not) exist|currently selected workspace"),
    # What Terraform itself says of the code, in words that it uses for nothing else.
    Rule(
        Trouble.CODE,
        _any(
            r"^(unsupported|missing required) (argument|block type|attribute)",
            r"^unsupported (terraform|opentofu) core version",
            r"^reference to undeclared",
            r"^(no value for required|undeclared) variable",
            r"^(invalid|unsuitable) value for (input )?variable",
            r"^invalid (expression|function argument|reference|block definition|character|multi-line string|index)\b",
            r"^(resource|module output value) (precondition|postcondition|.*precondition) failed",
            r"^(argument or block definition|argument definition|.* label) required",
            r"^(cycle:|error in function call|call to unknown function|duplicate |instance cannot be destroyed)",
        ),
    ),
    # A mirror may be filled later: it does not know that there is no such provider, as a registry does.
    Rule(Trouble.DOWNLOAD, r"was not found in any of the search locations", True),
    Rule(
        Trouble.CODE,
        _any(
            r"no available releases match",
            r"registry .{0,60}does not have a provider named",
        ),
        True,
    ),
    # What providers and backends say of the world around, wherever it stands in the code.
    Rule(Trouble.DISK, r"no space left on device|disk quota exceeded", True),
    Rule(
        Trouble.CRASH,
        _any(
            r"plugin (crashed|exited|did not respond)",
            r"plugin\.\(\*grpc",
            r"the plugin encountered an error",
            r"failed to (instantiate provider|load plugin schemas|start plugin)",
            r"unrecognized remote plugin message",
            r"panic: ",
        ),
        True,
    ),
    Rule(Trouble.DOWNLOAD, r"could not (connect|retrieve)[^.]*(connect|timeout|refused|dial|lookup|tls)", True),
    Rule(Trouble.DOWNLOAD, r"failed to request discovery document", True),
    Rule(
        Trouble.DOWNLOAD,
        _any(
            r"^failed to (install provider|resolve provider packages|(download|install) module)",
            r"^(error accessing (remote )?module registry|could not download module)",
        ),
    ),
    Rule(
        Trouble.CREDENTIALS,
        _any(
            r"\b(401|403)\b.{0,40}(unauthori[sz]ed|forbidden)",
            r"\b(unauthori[sz]ed|unauthenticated|authfailure|accessdenied|access denied|permission_denied)\b",
            r"\b(expiredtoken|invalidclienttokenid|signaturedoesnotmatch|requestexpired)\b",
            r"\b(authorizationfailed|unauthorizedoperation)\b",
            r"no valid credential|could not find default credentials|is forbidden: user",
            r"credentials? .{0,30}(expired|not found|invalid)",
            r"status ?(code)?:? (401|403)\b",
        ),
        True,
    ),
    Rule(
        Trouble.THROTTLED,
        _any(
            r"\b(throttl\w+|too ?many ?requests|rate ?limit\w*|requestlimitexceeded|slowdown|resource_exhausted)\b",
            r"\b(service ?unavailable|bad gateway|gateway time-?out|internal server error|quota ?exceeded)\b",
            r"\b(http|status ?(code)?:?) (429|5\d\d)\b",
        ),
        True,
    ),
    Rule(
        Trouble.NETWORK,
        _any(
            r"connection (refused|reset|timed out)|no route to host|network is unreachable|no such host|broken pipe",
            r"i/o timeout|deadline exceeded|client\.timeout|tls handshake|unexpected eof|: eof\b|proxyconnect",
            r"temporary failure in name resolution|server misbehaving",
            r"certificate (has expired|signed by unknown)",
        ),
        True,
    ),
    # The other things that Terraform says of the code.
    Rule(
        Trouble.CODE,
        _any(
            r"^(invalid|unsupported|missing|reference to|unknown|unclosed|unexpected|unterminated|undefined)\b",
            r"^(argument|attribute|variable|local|template|each\.|count|moved|ephemeral|sensitive|override)\b",
            r"^output refers to sensitive values",
            r"^(extra characters|error in|incorrect|inconsistent conditional|self-referential|conflicting|ambiguous)\b",
            r"^(too (few|many)|not enough|insufficient|not a valid|incompatible|the given|iteration over|value for)\b",
            r"^(provider configuration not present|provider type mismatch|unreadable module|resource .* has no)",
            r"^failed to query available provider packages",
        ),
    ),
    Rule(
        Trouble.BACKEND,
        _any(
            r"\b(loading|refreshing|inspecting|reading|getting|listing|saving|migrating) (the )?(state|workspaces?)\b",
            r"^failed to (get|load|read|open|save|persist|upload|decode|list)( existing)? (state|workspaces)",
            r"^error (configuring|creating) .*backend",
        ),
    ),
    Rule(Trouble.INTERRUPTED, r"^(execution halted|operation cancell?ed|interrupted)|context cancell?ed", True),
)


def trouble(diagnostic: Diagnostic) -> Trouble:
    """What this error is about; UNKNOWN if no rule fits, as for most words of providers."""
    return next((rule.trouble for rule in RULES if rule.fits(diagnostic)), Trouble.UNKNOWN)


def cause(diagnostics: Iterable[Diagnostic], *, applying: bool) -> Cause:
    """Who can end a failure with these errors.

    What surely lies in the code decides first, for no retry helps. Then what surely lies around us. What nobody knows
    is the commit's during an apply, and before it if it is about something that stands in the code.
    """
    found = [(diagnostic, trouble(diagnostic)) for diagnostic in diagnostics]
    known = {CAUSES.get(what, Cause.ENVIRONMENT) for _, what in found if what is not Trouble.UNKNOWN}
    if known:
        return Cause.COMMIT if Cause.COMMIT in known else Cause.ENVIRONMENT
    blames = applying or any(diagnostic.placed for diagnostic, _ in found)
    return Cause.COMMIT if found and blames else Cause.ENVIRONMENT


def remedy(diagnostic: Diagnostic) -> str:
    """What to do about an error, where more can be said than its own words."""
    return REMEDIES.get(trouble(diagnostic), "")
