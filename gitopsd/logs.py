"""How the process speaks while it works: lines for people on a terminal, JSON in a pipe; always on standard error."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence

import orjson
import structlog
from structlog.typing import EventDict, Processor


def _stack_first(_logger: object, _method: str, entry: EventDict) -> EventDict:
    """Put the name of the stack before the words; structlog's renderer takes the key for a dump of the call stack."""
    stack = entry.pop("stack", None)
    return {**entry, "event": f"{stack}: {entry['event']}"} if stack else entry


def set_up_logs(level: int = logging.INFO) -> None:
    """Configure structlog for the whole process, and pass on what libraries say from warnings upwards, in its form."""
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if sys.stderr.isatty():
        # Without the values of local variables, which a prettier traceback shows: there are secrets among them.
        lines = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
        structlog.configure(
            processors=[*shared, _stack_first, lines],
            wrapper_class=structlog.make_filtering_bound_logger(level),
            logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        )
        _take_in_libraries(shared, lines)
    else:
        structlog.configure(
            processors=[*shared, structlog.processors.format_exc_info, structlog.processors.JSONRenderer(orjson.dumps)],
            wrapper_class=structlog.make_filtering_bound_logger(level),
            logger_factory=structlog.BytesLoggerFactory(sys.stderr.buffer),
        )
        as_text = structlog.processors.JSONRenderer(lambda value, **options: orjson.dumps(value, **options).decode())
        _take_in_libraries(shared, structlog.processors.format_exc_info, as_text)


def _take_in_libraries(shared: Sequence[Processor], *last: Processor) -> None:
    """Let the loggers of the standard library, which libraries use, write lines like our own."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    # It warns of every poll that takes longer than its interval; that such a one is not started twice is as wanted.
    logging.getLogger("apscheduler").setLevel(logging.ERROR)
    # It warns of every connection beyond those that are kept open, which at a start there may be.
    logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)
