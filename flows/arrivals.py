"""The flow ``arrivals``: looks into the watched folder, and says so when data has arrived and lies still.

Its event starts the flow ``retrain`` (the trigger is in prefect.yaml). Scheduled every few minutes; a look costs as
much as listing the folder.
"""

from __future__ import annotations

import time
from pathlib import Path

from prefect import flow
from prefect.events import emit_event
from prefect.logging import get_run_logger

from flows import incoming, notifications, settings

EVENT = "vlp.data.arrived"
SETTLE_S = 5.0
"""Data that changes within this is still being copied."""


@flow(name="arrivals", on_failure=[notifications.on_new_failure], on_crashed=[notifications.on_new_failure])
def arrivals(project: str = ".", settle_s: float = SETTLE_S) -> bool:
    """Emit ``vlp.data.arrived`` if there are data that no retraining knows of (``incoming.is_news``).

    Returns:
        Whether the event was emitted.
    """
    root = Path(project).resolve()
    folder = root / settings.load(root).retrain.incoming
    found = incoming.fingerprint(folder)
    if not incoming.is_news(root, found):
        return False
    time.sleep(settle_s)
    if incoming.fingerprint(folder) != found:
        get_run_logger().info("%s: still arriving", folder)
        return False
    emit_event(event=EVENT, resource={"prefect.resource.id": "vlp.incoming"}, payload={"fingerprint": found})
    return True
