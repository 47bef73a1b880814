"""Structured logs on stderr: one line an event, for operators. stdout is for data only."""

import io
import logging
import sys
from contextlib import suppress
from typing import Any, Final, TextIO, cast

import structlog

_LOUD_AT_INFO: Final = ("httpx", "httpcore", "watchfiles", "watchfiles.main", "uvicorn.error", "uvicorn.asgi")


def configure(log_format: str, *, level: int = logging.INFO) -> None:
    """Send every log line to stderr: JSON, or for people where `auto` finds a terminal."""
    for_people = log_format == "console" or (log_format == "auto" and sys.stderr.isatty())
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *(_for_people() if for_people else _for_machines()),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(cast(TextIO, _Patient())),
        cache_logger_on_first_use=True,
    )
    root = logging.getLogger()
    root.handlers = [_ToStructlog()]
    root.setLevel(level)
    for name in _LOUD_AT_INFO:
        logging.getLogger(name).setLevel(logging.WARNING)


def hush_server() -> None:
    """From here on the HTTP server is cut off on purpose; that it says so as a failure helps nobody."""
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)


def _for_people() -> list[Any]:
    return [
        structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(),
            repr_native_str=True,  # control characters of a file name must not reach the terminal
            exception_formatter=structlog.dev.plain_traceback,
        )
    ]


def _for_machines() -> list[Any]:
    return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]


class _Patient(io.TextIOBase):
    """Standard error as it is when a line comes; one that cannot be written, on a full disk, to a closed
    pipe or file, is lost without a word."""

    def write(self, text: str) -> int:
        with suppress(OSError, ValueError):
            sys.stderr.write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError, ValueError):
            sys.stderr.flush()


class _ToStructlog(logging.Handler):
    """What libraries log comes out in the same shape as our own lines."""

    def emit(self, record: logging.LogRecord) -> None:
        logger = structlog.get_logger()
        logger.log(record.levelno, record.getMessage(), logger=record.name, exc_info=record.exc_info or None)
