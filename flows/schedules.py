"""Schedules: prefect.yaml says which there are; whoever switches one on or off in Prefect is not overruled.

``prefect deploy`` makes the schedules of a deployment anew, each as it is switched in the file, and leaves all of them
where the file has none any more.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterName
from prefect.client.schemas.objects import DeploymentSchedule
from prefect.client.schemas.responses import DeploymentResponse

from flows import standing
from vlp import params

FILE = Path("prefect.yaml")

_Key = tuple[UUID, str | None, str]


@contextmanager
def kept(project: Path, api: str) -> Iterator[None]:
    """In the block the deployments of ``project`` are made on the server at ``api``; the switches stay as they were.

    A schedule that the file has changed is another one, switched as the file says. One that it has no longer goes.
    """
    listed = params.read(project / FILE).get("deployments") or []
    has_any = {(each.get("name"), each.get("entrypoint")): bool(each.get("schedules")) for each in listed}
    names = DeploymentFilter(name=DeploymentFilterName(any_=[str(name) for name, _ in has_any]))
    with standing.client_of(api), get_client(sync_client=True) as client:
        found = client.read_deployments(deployment_filter=names)
        before = {_key(each, schedule): schedule.active for each in found for schedule in each.schedules}
        try:
            yield
        finally:  # of what was made before a failure, too
            for each in client.read_deployments(deployment_filter=names):
                if (each.name, each.entrypoint) in has_any:
                    _settle(client, each, before, keep=has_any[each.name, each.entrypoint])


def _settle(client: SyncPrefectClient, made: DeploymentResponse, before: dict[_Key, bool], *, keep: bool) -> None:
    for schedule in made.schedules:
        if not keep:
            client.delete_deployment_schedule(made.id, schedule.id)
        elif (active := before.get(_key(made, schedule), schedule.active)) != schedule.active:
            client.update_deployment_schedule(made.id, schedule.id, active=active)


def _key(made: DeploymentResponse, schedule: DeploymentSchedule) -> _Key:
    """What tells the schedules of all deployments apart; their ids are new each time."""
    # An interval without an anchor is given the moment at which it is made.
    return made.id, schedule.slug, schedule.schedule.model_dump_json(exclude={"anchor_date"})
