"""Runs whose process is gone: told by what they no longer say, they are marked as crashed, and others may start.

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

from flows import standing

HEARTBEAT_S = 30
"""The shortest that Prefect takes."""
SILENT_S = 3 * HEARTBEAT_S
STARTING_S = 600
"""Between being handed to a worker and running; a small machine under load needs a minute."""
_RULES = (
    ("runs without a heartbeat have crashed", "its process is gone: no heartbeat any more", "heartbeat", SILENT_S),
    ("runs that never start have crashed", "it never started: its worker is gone", "Pending", STARTING_S),
)


def watch(api: str) -> None:
    """Make the automations on the server at ``api``, or bring them up to date."""
    with standing.client_of(api):
        for name, message, after, seconds in _RULES:
            trigger = EventTrigger(
                after={f"prefect.flow-run.{after}"},
                # Anything that it says. An end is told by the state's name, and flows give their own: "Promoted".
                expect={"prefect.flow-run.*"},
                match={"prefect.resource.id": ["prefect.flow-run.*"]},
                for_each={"prefect.resource.id"},
                posture=Posture.Proactive,
                threshold=1,
                within=timedelta(seconds=seconds),
            )
            crashed = ChangeFlowRunState(state=StateType.CRASHED, message=message)
            _keep(Automation(name=name, trigger=trigger, actions=[crashed]))


def _keep(wanted: Automation) -> None:
    try:
        known = cast(Automation, Automation.read(name=wanted.name))
    except ValueError:
        wanted.create()
        return
    wanted.id = known.id
    wanted.update()
