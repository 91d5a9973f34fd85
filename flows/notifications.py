"""Tells a webhook or a Prefect notification block what happened; off until either is given.

FLOWS_WEBHOOK_URL gets a POST of ``{"event", "subject", "text"}``. A notification that cannot be delivered is an error
in the log, and never the end of the flow that it is about.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import httpx
from prefect.blocks.core import Block
from prefect.client.orchestration import get_client
from prefect.client.schemas import filters
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.client.schemas.sorting import FlowRunSort

from flows import secrets, settings
from flows.settings import Notifications

Event = Literal["failed", "promoted", "refused", "rolled_back", "drift"]
WEBHOOK = "FLOWS_WEBHOOK_URL"
TIMEOUT_S = 10

logger = logging.getLogger(__name__)


def tell(chosen: Notifications, event: Event, subject: str, text: str) -> None:
    """Send ``event`` to whoever is to be told of it."""
    if event not in chosen.events:
        return
    subject, text = secrets.hide(subject), secrets.hide(text)
    channels: dict[str, Callable[[], object]] = {}
    if address := os.environ.get(WEBHOOK):
        channels[WEBHOOK] = lambda: _post(address, {"event": event, "subject": subject, "text": text})
    if block := chosen.block:
        channels[block] = lambda: _block(block).notify(text, subject)
    for name, send in channels.items():  # one that is down keeps no news from the other
        try:
            send()
        except Exception as error:  # noqa: BLE001 - a block may raise anything, and the flow must go on
            # The address is part of httpx's messages, and a secret.
            logger.error("%s not told of %r: %s", name, event, secrets.hide(str(error)))


def _post(address: str, told: dict[str, str]) -> None:
    httpx.post(address, json=told, timeout=TIMEOUT_S).raise_for_status()


def _block(name: str) -> Any:
    return Block.load(name)


def on_failure(flow: object, flow_run: FlowRun, state: State[Any]) -> None:  # noqa: ARG001 - called by these names
    """Prefect's hook for a flow that failed or crashed."""
    root = Path(str(flow_run.parameters.get("project", "."))).resolve()
    tell(settings.load(root).notifications, "failed", f"{flow_run.name} {state.name}", state.message or "")


def on_new_failure(flow: object, flow_run: FlowRun, state: State[Any]) -> None:
    """The same for a flow that looks every few minutes: what stopped the run before as well has been told."""
    if state.message is None or state.message != _failure_before(flow_run):
        on_failure(flow, flow_run, state)


def _failure_before(flow_run: FlowRun) -> str | None:
    """What the last run of the same flow that ended before ``flow_run`` failed for; None if it did not."""
    ended = filters.FlowRunFilterStateType(any_=[StateType.COMPLETED, StateType.FAILED, StateType.CRASHED])
    try:
        with get_client(sync_client=True) as client:
            runs = client.read_flow_runs(
                flow_filter=filters.FlowFilter(id=filters.FlowFilterId(any_=[flow_run.flow_id])),
                flow_run_filter=filters.FlowRunFilter(state=filters.FlowRunFilterState(type=ended)),
                sort=FlowRunSort.START_TIME_DESC,
                limit=2,
            )
    except Exception as error:  # noqa: BLE001 - a server that does not answer must not hide the failure
        logger.error("not known whether it is new: %s", secrets.hide(str(error)))
        return None
    before = next((run.state for run in runs if run.id != flow_run.id), None)
    return None if before is None or before.type is StateType.COMPLETED else before.message
