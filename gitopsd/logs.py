"""How the process speaks while it works: lines for people on a terminal, JSON in a pipe; always on standard error."""

from __future__ import annotations

import logging
import sys

import orjson
import structlog
from structlog.typing import EventDict, Processor


def _stack_first(_logger: object, _method: str, entry: EventDict) -> EventDict:
    """Put the name of the stack before the words; structlog's renderer takes the key for a dump of the call stack."""
    stack = entry.pop("stack", None)
    return {**entry, "event": f"{stack}: {entry['event']}"} if stack else entry


def set_up_logs(level: int = logging.INFO) -> None:
    """Configure structlog for the whole process, and pass on what libraries say from warnings upwards."""
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if sys.stderr.isatty():
        structlog.configure(
            # Without the values of local variables, which a prettier traceback shows: there are secrets among them.
            processors=[
                *shared,
                _stack_first,
                structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback),
            ],
            wrapper_class=structlog.make_filtering_bound_logger(level),
            logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        )
    else:
        structlog.configure(
            processors=[*shared, structlog.processors.format_exc_info, structlog.processors.JSONRenderer(orjson.dumps)],
            wrapper_class=structlog.make_filtering_bound_logger(level),
            logger_factory=structlog.BytesLoggerFactory(sys.stderr.buffer),
        )
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s")
