"""What Prometheus is told at ``/metrics``; workers are added up.

Every label takes one of a few values known beforehand. BentoML's own metrics are off: they count by the path
that a caller asked for, so that anyone could fill the memory with made-up paths.
"""

from __future__ import annotations

import os

from service.settings import read

SEVERAL = "PROMETHEUS_MULTIPROC_DIR"
# BentoML gives every server of a user the same folder, and empties it when one starts. One worker needs none, and
# reports its memory and processor time as well. The client library looks at the variable when it is imported.
if read().workers == 1:
    os.environ.pop(SEVERAL, None)

from prometheus_client import (  # noqa: E402
    CONTENT_TYPE_LATEST,
    REGISTRY,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)
from prometheus_client.multiprocess import MultiProcessCollector  # noqa: E402

_SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0)
_ITEMS = (1, 2, 4, 8, 16, 32, 64)

REQUESTS = Counter("vlp_requests", "Requests answered, refused ones included.", ["path", "status"])
REQUEST_SECONDS = Histogram(
    "vlp_request_seconds", "From a request's arrival to its answer.", ["path"], buckets=_SECONDS
)
PREDICTION_SECONDS = Histogram(
    "vlp_prediction_seconds", "Preparing and predicting, without waiting.", ["task"], buckets=_SECONDS
)
BATCH_SIZE = Histogram("vlp_batch_size", "Texts, or images, of one prediction.", ["task"], buckets=_ITEMS)
RUN_ROWS = Histogram(
    "vlp_run_rows", "Rows of one run of a graph: of all predictions that it answered.", ["graph"], buckets=_ITEMS
)
IN_FLIGHT = Gauge("vlp_in_flight", "Predictions waiting or running.", multiprocess_mode="livesum")
RECORDS_DROPPED = Counter("vlp_records_dropped", "Records of served predictions that could not be kept.")


def ran(graph: str, rows: int) -> None:
    """Count one run of a graph."""
    RUN_ROWS.labels(graph).observe(rows)


def exposed() -> tuple[bytes, str]:
    """All figures of this service in Prometheus' text format, and its content type."""
    registry = REGISTRY
    if SEVERAL in os.environ:
        registry = CollectorRegistry()
        MultiProcessCollector(registry)
    return generate_latest(registry), CONTENT_TYPE_LATEST
