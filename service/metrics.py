"""What Prometheus is told, beside BentoML's own figures, at ``/metrics``; workers are added up.

Every label takes one of a few values known beforehand: a path or a text of a caller never becomes one.
"""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

_SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0)
_ITEMS = (1, 2, 4, 8, 16, 32, 64)

REQUESTS = Counter("vlp_requests", "Requests answered, refused ones included.", ["path", "status"])
REQUEST_SECONDS = Histogram("vlp_request_seconds", "From a request's arrival to its answer.", ["path"], buckets=_SECONDS)
PREDICTION_SECONDS = Histogram(
    "vlp_prediction_seconds", "Preparing and predicting, without waiting.", ["task"], buckets=_SECONDS
)
BATCH_SIZE = Histogram("vlp_batch_size", "Texts, or images, of one prediction.", ["task"], buckets=_ITEMS)
IN_FLIGHT = Gauge("vlp_in_flight", "Predictions waiting or running.", multiprocess_mode="livesum")
RECORDS_DROPPED = Counter("vlp_records_dropped", "Records of served predictions that could not be kept.")
