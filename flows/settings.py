"""``flows/config.yaml`` as typed, frozen sections. It holds no secret: the environment or a Prefect block does."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from string import Formatter
from typing import Literal

from pydantic import Field, ValidationInfo, field_validator

from vlp import params
from vlp.params import Section

CONFIG = Path("flows") / "config.yaml"


class GatedMetric(Section):
    """One metric that a challenger must win."""

    task: str
    metric: str = Field(description="its key in metrics/<task>.json")
    outcome: str = Field(description="how a row of predictions.jsonl counts: `pair`, or a field of it from 0 to 1")
    key: tuple[str, ...] = Field(min_length=1, description="the fields that name a row, the record's id first")
    floor: float = Field(description="the challenger's value must reach it, whatever the champion's is")
    margin: float = Field(
        description="share of the champion's value that the lower bound of the difference must exceed; below 0 "
        "tolerates so much loss"
    )


class Gate(Section):
    """When a challenger may replace the champion."""

    mode: Literal["enforce", "dry_run", "off"]
    metrics: tuple[GatedMetric, ...] = Field(min_length=1)
    confidence: float = Field(gt=0.5, lt=1)
    resamples: int = Field(ge=200)
    slice: str | None = Field(description="field of predictions.jsonl that names a row's slice; null: no guard")
    max_slice_loss: float = Field(ge=0, description="no slice may lose more than this")
    min_slice_rows: int = Field(gt=0, description="a smaller slice is reported, not judged")
    min_common_share: float = Field(gt=0, le=1, description="of the champion's test records, in the challenger's test")
    max_text_only: float | None = Field(description="ceiling of text_only_hard_negative_accuracy: above, data leaks")
    max_gain: float = Field(gt=0, description="a larger jump is taken for a leak until a person has looked")
    latency: str | None = Field(description="key below metrics/, in milliseconds; null: speed is not judged")
    max_latency_ratio: float = Field(gt=1)


class Retrain(Section):
    """Where new data comes from."""

    incoming: str = Field(description="the watched folder, below the project: what ingest.root reads")
    update_imports: bool = Field(description="dvc update what was imported; reaches for its origin")
    revision: str = Field(description="code and parameters of a retraining: a branch, or HEAD")
    keep: int = Field(
        gt=0, description="branches and reports of the newest runs that stay; branches within cleanup.keep_days, too"
    )

    @field_validator("incoming")
    @classmethod
    def _below_the_project(cls, incoming: str) -> str:
        """Any other folder would be the same one for the project and for a run's worktree, which is written to."""
        path = PurePosixPath(incoming)
        if path.is_absolute() or not path.parts or ".." in path.parts:
            raise ValueError("must be a folder below the project, relative to it and without '..'")
        return incoming


class Serving(Section):
    """How a version is served and watched."""

    serve: tuple[str, ...] = Field(min_length=1, description="command; {bundle} and {port} are filled in")
    package: tuple[str, ...] = Field(
        description="command that builds the bento, in a checkout of the version; {version}, {commit} and {dvc_lock} "
        "are filled in; []: none"
    )
    discard: tuple[str, ...] = Field(description="command that takes the bento back, filled in alike; []: none")
    host: str
    port: int = Field(ge=0, lt=65536, description="of the front, which clients know")
    ready_s: float = Field(gt=0)
    smoke_records: int = Field(gt=0)
    smoke_min_share: float = Field(
        ge=0, le=1, description="of the smoke records on which the service agrees with the evaluation"
    )
    smoke_tolerance: float = Field(gt=0, description="between a served and an evaluated score")
    watch_s: float = Field(ge=0)
    max_error_share: float = Field(ge=0, lt=1, description="of answers while watched, 5xx being errors")
    keep: int = Field(ge=2, description="versions whose bundle stays on this machine")

    @field_validator("serve", "package", "discard")
    @classmethod
    def _can_be_filled_in(cls, command: tuple[str, ...], field: ValidationInfo) -> tuple[str, ...]:
        """A name that nobody fills in would show only once a version is served, or is to be taken back."""
        known = {"bundle", "port"} if field.field_name == "serve" else {"version", "commit", "dvc_lock"}
        for part in command:
            try:
                names = {name for _, name, _, _ in Formatter().parse(part) if name is not None}
            except ValueError as error:
                raise ValueError(f"{part}: {error}; a brace that is meant is written twice") from None
            if unknown := names - known:
                raise ValueError(
                    f"{part}: only {', '.join(sorted(known))} can stand in braces, not {', '.join(sorted(unknown))}; "
                    "a brace that is meant is written twice"
                )
        return command


class Notifications(Section):
    """Who is told what; the address is a secret (FLOWS_WEBHOOK_URL), or a Prefect notification block."""

    block: str | None = Field(description="`type/name` of a saved notification block")
    events: tuple[Literal["failed", "promoted", "refused", "rolled_back", "drift"], ...]


class Cleanup(Section):
    """What the flow ``cleanup`` may take away; ``retrain.keep`` and ``serving.keep`` say what else stays."""

    cache: Literal["own", "off"] = Field(
        description="own: of DVC's cache, where it is below the project and so nobody else's; off: nothing of it"
    )
    keep_days: int = Field(ge=1, description="runs as young as this keep their branch, and all commits their data")
    log_mb: float = Field(gt=0, description="a longer log of a server loses its beginning")
    history_days: int = Field(ge=1, description="of runs in Prefect's database, for the server of `make up`")


class Settings(Section):
    """All of ``flows/config.yaml``."""

    artifact: str = Field(pattern=r"^[a-z0-9-]+$", description="the model's name in the registry")
    retries: int = Field(ge=0, description="of a stage that failed for a reason that may pass")
    retry_delay_s: float = Field(ge=0)
    gate: Gate
    retrain: Retrain
    serving: Serving
    cleanup: Cleanup
    notifications: Notifications


def load(project: Path) -> Settings:
    """The settings of the checkout ``project``.

    Raises:
        vlp.params.ParamsError: naming the file and the key.
    """
    path = project / CONFIG
    return params.parse(Settings, params.read(path), str(path))
