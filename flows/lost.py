"""Runs whose process is gone: told by their missing heartbeat, they are marked as crashed, and others may start.

A run that is killed outright, with its worker or by the machine, cannot say so. It would stand as *Running* for ever,
and hold its deployment's limit of one. Source: https://docs.prefect.io/v3/advanced/detect-zombie-flows
"""

from __future__ import annotations

from datetime import timedelta
from typing import cast

from prefect.automations import Automation
from prefect.client.schemas.objects import StateType
from prefect.events.actions import ChangeFlowRunState
from prefect.events.schemas.automations import EventTrigger, Posture
from prefect.settings import PREFECT_API_URL, temporary_settings

NAME = "runs without a heartbeat have crashed"
HEARTBEAT_S = 30
"""The shortest that Prefect takes."""
MISSED = 3
_ENDS = ("Completed", "Failed", "Cancelled", "Crashed")
_BEAT = "prefect.flow-run.heartbeat"


def watch(api: str) -> None:
    """Make the automation on the server at ``api``, or bring it up to date."""
    trigger = EventTrigger(
        after={_BEAT},
        expect={_BEAT, *(f"prefect.flow-run.{end}" for end in _ENDS)},
        match={"prefect.resource.id": ["prefect.flow-run.*"]},
        for_each={"prefect.resource.id"},
        posture=Posture.Proactive,
        threshold=1,
        within=timedelta(seconds=MISSED * HEARTBEAT_S),
    )
    crashed = ChangeFlowRunState(state=StateType.CRASHED, message="its process is gone: no heartbeat any more")
    wanted = Automation(name=NAME, trigger=trigger, actions=[crashed])
    with temporary_settings({PREFECT_API_URL: api}):
        try:
            known = cast(Automation, Automation.read(name=NAME))
        except ValueError:
            wanted.create()
            return
        wanted.id = known.id
        wanted.update()
