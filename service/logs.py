"""One JSON object a line on standard output: time, level, message, request id, and what the message is about."""

from __future__ import annotations

import json
import logging
import time
from http import HTTPStatus

from bentoml.exceptions import BentoMLException

from service.guard import REQUEST_ID

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}
# BentoML's own additions, of which the request id says all.
_LEFT_OUT = frozenset({"levelname_bracketed", "component", "trace_msg", "service_name", "request_id"})


class JsonFormatter(logging.Formatter):
    """A record as one line of JSON; what was given as ``extra`` stands beside the message."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line = {
            "time": f"{seconds}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if request := REQUEST_ID.get():
            line["request_id"] = request
        line |= {name: value for name, value in vars(record).items() if name not in _STANDARD | _LEFT_OUT}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


class _CallersFaults(logging.Filter):
    """Leaves out BentoML's stack trace for each request that was refused: the request's own line tells of it."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        return not (isinstance(error, BentoMLException) and error.error_code < HTTPStatus.INTERNAL_SERVER_ERROR)


def configure() -> None:
    """Bring the handlers that BentoML has set up in this process to this form."""
    root = logging.getLogger()
    ours = logging.getLogger("vlp")
    ours.setLevel(logging.INFO)
    # What is wrong with a form or a picture is the caller's fault, and is said in the answer.
    logging.getLogger("python_multipart").setLevel(logging.ERROR)
    logging.getLogger("PIL").setLevel(logging.CRITICAL)
    for name in (None, "bentoml", "uvicorn.error", "circus"):
        for handler in logging.getLogger(name).handlers:
            handler.setFormatter(JsonFormatter())
            handler.addFilter(_CallersFaults())
    if not root.handlers:
        logging.basicConfig(level=logging.WARNING)
        root.handlers[0].setFormatter(JsonFormatter())
