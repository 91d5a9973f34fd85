"""What a Prefect server has kept: for tests that look at what a person would see."""

from __future__ import annotations

import json
import os
from typing import Any

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey, FlowFilter, FlowFilterName
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.sorting import ArtifactSort, FlowRunSort
from prefect.settings import PREFECT_API_URL

from support.pipelines import PROJECT

PAGE = 200


def environment() -> dict[str, str]:
    """That of a process whose flows report to the same server as this process's."""
    path = os.pathsep.join([str(PROJECT), os.environ["PYTHONPATH"]])
    return os.environ | {"PYTHONPATH": path, "PREFECT_API_URL": str(PREFECT_API_URL.value())}


def artifact(key: str) -> str:
    """The newest artifact ``key``, as text."""
    with get_client(sync_client=True) as client:
        found = client.read_artifacts(
            artifact_filter=ArtifactFilter(key=ArtifactFilterKey(any_=[key])), sort=ArtifactSort.CREATED_DESC, limit=1
        )
    return str(found[0].data)


def rows(key: str) -> list[dict[str, Any]]:
    """The newest table ``key``."""
    found: list[dict[str, Any]] = json.loads(artifact(key))
    return found


def last_run(flow: str) -> FlowRun:
    """The newest run of a flow."""
    with get_client(sync_client=True) as client:
        return client.read_flow_runs(
            flow_filter=FlowFilter(name=FlowFilterName(any_=[flow])), sort=FlowRunSort.EXPECTED_START_TIME_DESC, limit=1
        )[0]


def everything() -> str:
    """All artifacts, logs and runs, as one text."""
    found: list[Any] = []
    with get_client(sync_client=True) as client:
        for read in (client.read_artifacts, client.read_logs, client.read_flow_runs, client.read_task_runs):
            offset = 0
            while page := read(limit=PAGE, offset=offset):
                found += page
                offset += PAGE
    return "\n".join(each.model_dump_json() for each in found)
