"""The flow ``drift``: what was served since the last time, held against the reference; one alert an incident.

    python -m flows.drift --served monitoring [--retrain retrain/retrain]

All judging is the command ``vlp drift``'s. The flow shows what it found, tells of an incident by the notifications of
``flows/config.yaml`` and by the event ``vlp.drift.incident``, and starts a retraining where a deployment is named.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from prefect import flow, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.deployments import run_deployment
from prefect.events import emit_event
from prefect.logging import get_run_logger

from flows import logged, notifications, settings, standing
from vlp.commands import output

EVENT = "vlp.drift.incident"


@flow(name="drift", on_failure=[notifications.on_failure], on_crashed=[notifications.on_failure])
def drift(
    project: str = ".",
    served: str = "monitoring",
    reference: str = "reports/reference/served.jsonl",
    state: str = "runs/drift.json",
    settle_s: float = 60.0,
    retrain: str | None = None,
) -> dict[str, Any]:
    """Judge what was served since the last run.

    Args:
        project: where params.yaml stands; the other paths are below it, or absolute.
        served: folder of the service's records.
        reference: what the stage ``reference`` wrote, or served records of a good time.
        state: file that remembers from run to run.
        settle_s: younger records are left for the next run.
        retrain: a deployment (``flow/name``) to start once an incident, with ``force``; None: people decide.

    Returns:
        What ``vlp drift`` found.
    """
    found = judge(project, served, reference, state, settle_s)
    with logged.only("the comparison is not shown in Prefect"):
        create_markdown_artifact(markdown(found), key="drift", description="Served records against the reference.")
    logger = get_run_logger()
    for line in found["refused"][:5]:
        logger.warning("no record: %s", line)
    if (alert := found["alert"]) is None:
        logger.info("%d windows compared, %d requests wait for the next", len(found["windows"]), found["waiting"])
        return found
    logger.warning("incident %d: %s drifted", alert["number"], ", ".join(alert["features"]))
    # The same incident, told twice because a run died in between, is one event and one retraining.
    key = f"vlp.drift.{alert['number']}.{alert['began']}"
    emit_event(EVENT, resource={"prefect.resource.id": key}, payload=alert)
    chosen = settings.load(Path(project)).notifications
    notifications.tell(chosen, "drift", f"drift: {', '.join(alert['features'])}", markdown(found))
    if retrain is not None:
        # Forced: drift is a reason to look again at code, parameters and imports, even where no file has arrived.
        run_deployment(retrain, parameters={"force": True}, timeout=0, as_subflow=False, idempotency_key=key)
    output(Path(project), "vlp", "drift", "--told", "--state", state)
    return found


@task(cache_policy=NO_CACHE)
def judge(project: str, served: str, reference: str, state: str, settle_s: float) -> dict[str, Any]:
    """What ``vlp drift`` finds."""
    chosen = ["--served", served, "--reference", reference, "--state", state, "--settle", str(settle_s)]
    found: dict[str, Any] = json.loads(output(Path(project), "vlp", "drift", *chosen))
    return found


def markdown(found: dict[str, Any]) -> str:
    """The last window feature by feature, and what became of the others."""
    incident, windows = found["incident"], found["windows"]
    violated = sum(bool(window["violated"]) for window in windows)
    lines = ["No incident."]
    if incident:
        lines = [f"**Incident {incident['number']}** since {incident['began']}: {', '.join(incident['features'])}."]
    lines += ["", f"{len(windows)} windows compared, {violated} violated; {found['waiting']} requests wait;"]
    lines += [f"{len(found['refused'])} lines were no records."]
    if windows:
        lines += ["", f"The window that ended {windows[-1]['ended']}:", ""]
        lines += ["| feature | reference | served | distance | p | |", "|---|---|---|---|---|---|"]
        lines += [_row(feature) for feature in windows[-1]["features"]]
        if windows[-1]["left_out"]:
            lines += ["", f"Not compared, of another bundle: {', '.join(windows[-1]['left_out'])}."]
    return "\n".join(lines)


def _row(feature: dict[str, Any]) -> str:
    means = f"{feature['reference']:.4g} | {feature['window']:.4g}"
    verdict = "**drifted**" if feature["violated"] else ""
    return f"| {feature['name']} | {means} | {feature['distance']:.3f} | {feature['p']:.2g} | {verdict} |"


def main() -> None:
    """Run the flow once, from the command line."""
    parser = argparse.ArgumentParser(description="Judge what was served since the last time, once.")
    parser.add_argument("--project", default=".")
    parser.add_argument("--served", default="monitoring")
    parser.add_argument("--retrain", help="a deployment to start once an incident: flow/name")
    arguments = parser.parse_args()
    try:
        with standing.server(Path(arguments.project)):
            drift(project=arguments.project, served=arguments.served, retrain=arguments.retrain)
    except (RuntimeError, ValueError) as error:
        raise SystemExit(f"error: {error}") from None


if __name__ == "__main__":
    main()
