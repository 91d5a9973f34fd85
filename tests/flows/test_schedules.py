"""The file says which schedules there are, and a person in Prefect which of them are on."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterName
from prefect.client.schemas.responses import DeploymentResponse
from prefect.settings import PREFECT_API_URL
from ruamel.yaml import YAML

from flows import schedules
from support import prefect_api

NAMES = ("scheduled-one", "scheduled-two")
DAILY, HOURLY = {"cron": "0 3 * * *", "timezone": "Etc/UTC"}, {"cron": "0 * * * *", "timezone": "Etc/UTC"}
EVERY = {"interval": 600}


def deploy(project: Path, *of_each: list[dict[str, Any]]) -> None:
    """`make up`'s part of it, with these schedules of the first deployment and of the second."""
    (project / "work.py").write_text("from prefect import flow\n\n@flow\ndef work() -> None:\n    pass\n")
    entries = [
        {"name": name, "entrypoint": "work.py:work", "work_pool": {"name": "schedules"}, "schedules": found}
        for name, found in zip(NAMES, of_each, strict=True)
    ]
    YAML().dump({"name": "test", "pull": None, "deployments": entries}, project / schedules.FILE)
    with schedules.kept(project, str(PREFECT_API_URL.value())):
        command = ["prefect", "--no-prompt", "deploy", "--all"]
        done = subprocess.run(
            command, cwd=project, env=prefect_api.environment(), capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr


def made() -> list[DeploymentResponse]:
    wanted = DeploymentFilter(name=DeploymentFilterName(any_=list(NAMES)))
    with get_client(sync_client=True) as client:
        return sorted(client.read_deployments(deployment_filter=wanted), key=lambda each: each.name)


def switches() -> list[dict[str, bool]]:
    """Of each deployment, its schedules: on or off."""
    return [
        {str(getattr(each.schedule, "cron", "interval")): each.active for each in found.schedules} for found in made()
    ]


@pytest.mark.slow
def test_switches_stay_as_they_were_set_and_a_schedule_that_is_gone_from_the_file_goes(server, tmp_path):
    pool = ["prefect", "work-pool", "create", "schedules", "--type", "process", "--overwrite"]
    subprocess.run(pool, env=prefect_api.environment(), capture_output=True, check=True)
    deploy(tmp_path, [DAILY, HOURLY | {"active": False}, EVERY], [DAILY])
    assert switches() == [{"0 3 * * *": True, "0 * * * *": False, "interval": True}, {"0 3 * * *": True}]
    with get_client(sync_client=True) as client:
        for found in made():
            for each in found.schedules:
                client.update_deployment_schedule(found.id, each.id, active=not each.active)

    deploy(tmp_path, [DAILY, HOURLY | {"active": False}, EVERY], [HOURLY])
    assert switches() == [{"0 3 * * *": False, "0 * * * *": True, "interval": False}, {"0 * * * *": True}]
    deploy(tmp_path, [DAILY], [])
    assert switches() == [{"0 3 * * *": False}, {}]
