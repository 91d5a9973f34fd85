"""The search: a study that outlives its process, a trial at a time, the best one applied.

A study is of one task at one commit and of one search (space, metric, direction), in ``runs/tune/<task>/study.log``;
called again, it goes on where it ended, and a trial that was cut off is tried again first. Another search at the same
commit is another study: its trials are not those of this one. Each trial is an experiment in ``dvc exp show``, below
that commit.

Sources: Akiba et al. 2019 (Optuna), https://arxiv.org/abs/1907.10902; the median rule, Golovin et al. 2017 (Vizier),
https://doi.org/10.1145/3097983.3098043
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import math
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vlp import commands, worktrees
from vlp.overlays import apply, nearest
from vlp.params import read
from vlp.tuning import trial as trials
from vlp.tuning.settings import SETTINGS_FILE, SearchParams, load

_FAILURES = 3
"""Trials in a row that may fail before the search gives up."""


class TuneError(ValueError):
    """A search that cannot start, go on or be applied."""


def run(project: Path, task: str, count: int | None) -> list[dict[str, Any]]:
    """Search until ``count`` trials have ended.

    Args:
        project: the root of the git repository.
        task: a section of ``tuning.yaml`` and of ``tasks``.
        count: trials in all, earlier calls' included, 1 or more; those of ``tuning.yaml`` if None.

    Returns:
        A row a trial, the best first: ``name``, ``state``, ``value``, ``params``.

    Raises:
        ParamsError: ``tuning.yaml`` says what cannot be.
        TuneError: there is nothing to try, another search of the task runs, or several trials in a row failed.
        WorktreeError: the trials' worktree cannot be made.
    """
    params = _checked(project, task)
    wanted = params.trials if count is None else count
    if wanted < 1:
        raise TuneError(f"--trials: {wanted}: expected 1 or more; without it {SETTINGS_FILE} says how many")
    notes = project / "runs" / "tune" / task
    notes.mkdir(parents=True, exist_ok=True)
    place = trials.Place(project, notes / "worktree", notes, task)
    with _alone(notes / "lock"):
        trials.end_leftover(place)
        worktrees.fresh(project, place.worktree)
        study = _study(project, task, params)
        _take_up_again(study)
        failures = 0
        while sum(each.state.is_finished() and not _cut_off(each) for each in study.trials) < wanted:
            failures = failures + 1 if not _try(study, place, params) else 0
            if failures == _FAILURES:
                raise TuneError(f"{failures} trials in a row failed; the last one's log is the newest of {notes}/*.log")
    return rows(study)


def apply_best(project: Path, task: str) -> dict[str, Any]:
    """Write the best trial's parameters into ``params.yaml``, its comments kept.

    Returns:
        The trial's row.

    Raises:
        TuneError: no trial of the last commit has ended well.
    """
    best = rows(_study(project, task, _checked(project, task)))[:1]
    if not best or best[0]["state"] != "complete":
        raise TuneError(
            f"no trial of {task} at this commit, as {SETTINGS_FILE} searches now, has ended: vlp tune {task}"
        )
    settings = [f"{name}={json.dumps(value)}" for name, value in best[0]["params"].items()]
    apply(None, settings, project / worktrees.PARAMS_FILE)
    return best[0]


def rows(study: Any) -> list[dict[str, Any]]:
    """The trials, those that ended well first and the best of them on top."""
    sign = 1 if study.direction.name == "MINIMIZE" else -1
    listed = [
        {
            "name": each.user_attrs.get("name", str(each.number)),
            "state": each.state.name.lower(),
            "value": each.value,
            "params": each.params,
        }
        for each in study.trials
    ]
    return sorted(
        listed, key=lambda row: (row["state"] != "complete", sign * row["value"] if row["value"] is not None else 0)
    )


def _checked(project: Path, task: str) -> SearchParams:
    params = load(task, project / SETTINGS_FILE)
    whole = read(project / worktrees.PARAMS_FILE)
    if task not in whole.get("tasks", {}):
        raise TuneError(f"{task}: params.yaml has no such task{nearest(task, whole.get('tasks', {}))}")
    for name in params.space:
        section: Any = whole
        for part in name.split("."):
            if not isinstance(section, dict) or part not in section:
                known = section if isinstance(section, dict) else {}
                raise TuneError(
                    f"{SETTINGS_FILE}: {task}.space: {name}: params.yaml has no such key{nearest(part, known)}"
                )
            section = section[part]
    return params


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise TuneError(f"{path.parent}: another search of this task is running") from None
        yield


def _study(project: Path, task: str, params: SearchParams) -> Any:
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    commit = commands.output(project, "git", "rev-parse", "--short=10", "HEAD").strip()
    path = project / "runs" / "tune" / task / "study.log"
    path.parent.mkdir(parents=True, exist_ok=True)
    storage = JournalStorage(JournalFileBackend(str(path)))
    of_commit, search = f"{task}@{commit}:", _search(params)
    name = f"{of_commit}{params.direction} {params.metric} in {search}"
    others = [each for each in optuna.get_all_study_names(storage) if each.startswith(of_commit) and each != name]
    if others:
        _say(
            f"{SETTINGS_FILE}: {task} was searched at this commit with another space, metric or direction, too: those "
            "trials are no part of this search; dvc exp show lists them"
        )
    study = optuna.create_study(
        study_name=name,
        storage=storage,
        direction=params.direction,
        load_if_exists=True,
    )
    # A sampler of the same seed would propose again what it proposed before the search was cut off.
    study.sampler = optuna.samplers.TPESampler(seed=params.seed + len(study.trials))
    study.pruner = optuna.pruners.MedianPruner(n_startup_trials=params.before_pruning, n_warmup_steps=params.warm_up)
    study.set_user_attr("commit", commit)
    study.set_user_attr("search", search)
    return study


def _search(params: SearchParams) -> str:
    """A few letters, others for another space, metric or direction; how many trials there are makes no difference."""
    searched = params.model_dump(mode="json", include={"space", "metric", "direction"})
    return hashlib.sha256(json.dumps(searched, sort_keys=True).encode()).hexdigest()[:4]


def _cut_off(each: Any) -> bool:
    return bool(each.user_attrs.get("cut_off"))


def _take_up_again(study: Any) -> None:
    """Trials that a killed search left running are given up, and tried again first."""
    from optuna.trial import TrialState

    for each in study.get_trials(states=(TrialState.RUNNING,)):
        study.enqueue_trial(each.params)
        study._storage.set_trial_user_attr(each._trial_id, "cut_off", True)
        study.tell(each.number, state=TrialState.FAIL)


def _try(study: Any, place: trials.Place, params: SearchParams) -> bool:
    """One trial; false if it failed."""
    from optuna.trial import TrialState

    asked = study.ask()
    values = {name: dimension.ask(asked, name) for name, dimension in params.space.items()}
    name = f"{place.task}-{study.user_attrs['commit'][:7]}-{study.user_attrs['search']}-{asked.number:03d}"
    asked.set_user_attr("name", name)
    _say(f"{name}: " + ", ".join(f"{key.rpartition('.')[2]}={_short(value)}" for key, value in values.items()))

    def prune(look: dict[str, float]) -> bool:
        if not math.isfinite(_figure(look, params.metric)):
            return True
        asked.report(_figure(look, params.metric), int(look["step"]))
        return bool(asked.should_prune())

    try:
        ended = trials.run(place, name, values, prune)
    except (KeyboardInterrupt, SystemExit):
        asked.set_user_attr("cut_off", True)
        study.enqueue_trial(values)
        study.tell(asked, state=TrialState.FAIL)
        raise
    if ended.error is not None:
        _say(f"{name}: failed: {ended.error}")
        asked.set_user_attr("error", ended.error)
        study.tell(asked, state=TrialState.FAIL)
        return False
    figure = _figure(ended.validation, params.metric)
    if not math.isfinite(figure):
        _say(f"{name}: failed: validation: {params.metric} is {figure}")
        asked.set_user_attr("error", f"validation: {params.metric} is {figure}")
        study.tell(asked, state=TrialState.FAIL)
        return False
    state = TrialState.PRUNED if ended.pruned else TrialState.COMPLETE
    study.tell(asked, None if ended.pruned else figure, state=state)
    _say(f"{name}: {params.metric} {figure:.4f}{', pruned' if ended.pruned else ''}")
    return True


def _figure(figures: Mapping[str, float | None], metric: str) -> float:
    """The figure, NaN where it is none."""
    if metric not in figures:
        raise TuneError(f"{SETTINGS_FILE}: metric: validation has no {metric!r}{nearest(metric, figures)}")
    value = figures[metric]
    return math.nan if value is None else float(value)


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _say(line: str) -> None:
    sys.stderr.write(line + "\n")
    sys.stderr.flush()
