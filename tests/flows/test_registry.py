"""Versions and assignments are GTO's tags."""

from __future__ import annotations

import subprocess
import time

import pytest

from flows.registry import DeprecatedError, Registry
from flows.worktree import git
from support import pipelines


def two_versions(project):
    registry = Registry(project, "vlp")
    first = registry.register(git(project, "rev-parse", "HEAD"))
    pipelines.change(project, "params.yaml", train__skill=0.8)
    return registry, first, registry.register(pipelines.commit(project))


def test_versions_count_up_and_a_commit_has_one(project):
    registry, first, second = two_versions(project)
    assert [version.name for version in registry.versions()] == ["v0.0.1", "v0.0.2"]
    assert registry.register(first.commit) == first
    assert registry.champion() is None
    registry.deregister(second)
    assert registry.versions() == [first]


def test_the_last_assignment_is_production_and_the_one_before_is_what_a_rollback_returns_to(project):
    registry, first, second = two_versions(project)
    assert registry.assign(first) == "vlp#prod#1"
    assert (registry.champion(), registry.previous()) == (first, None)
    tag = registry.assign(second)
    assert (registry.champion(), registry.previous()) == (second, first)
    registry.assign(first)
    assert (registry.champion(), registry.previous()) == (first, second)
    git(project, "tag", "--delete", "vlp#prod#3")
    registry.unassign(tag)
    assert registry.champion() == first


@pytest.mark.slow
def test_it_agrees_with_gto(project):
    registry, first, _ = two_versions(project)
    registry.assign(first)
    shown = subprocess.run(
        ["gto", "show", "vlp#prod", "--version"], cwd=project, capture_output=True, text=True, check=True
    )
    assert shown.stdout.strip() == "v0.0.1"
    taken = ["gto", "deprecate", "vlp", "v0.0.1", "prod"]
    git(project, "config", "user.name", "A Person")
    git(project, "config", "user.email", "person@example.org")
    subprocess.run(taken, cwd=project, capture_output=True, check=True)
    assert registry.champion() is None


def test_another_artifact_with_a_longer_name_is_another(project):
    registry = Registry(project, "vlp")
    Registry(project, "vlp-large").register(git(project, "rev-parse", "HEAD"))
    assert registry.versions() == []


def gto(project, *arguments: str) -> None:
    """As a person types it."""
    git(project, "config", "user.name", "A Person")
    git(project, "config", "user.email", "person@example.org")
    subprocess.run(["gto", *arguments], cwd=project, capture_output=True, check=True)


@pytest.mark.slow
def test_a_deprecated_version_is_none_and_its_name_is_not_given_again(project):
    registry, first, second = two_versions(project)
    registry.assign(first)
    registry.assign(second)
    gto(project, "deprecate", "vlp", "v0.0.2")
    assert registry.versions() == [first]
    assert (registry.champion(), registry.previous()) == (first, None)
    with pytest.raises(DeprecatedError, match=r"is v0\.0\.2 of vlp, which was deprecated"):
        registry.register(second.commit)
    pipelines.change(project, "params.yaml", train__skill=0.9)
    third = registry.register(pipelines.commit(project))
    assert third.name == "v0.0.3"
    registry.assign(third)
    assert (registry.champion(), registry.previous()) == (third, first)


@pytest.mark.slow
def test_an_artifact_that_is_deprecated_as_a_whole_has_no_version_until_the_next(project):
    registry, first, second = two_versions(project)
    registry.assign(first)
    time.sleep(1.1)  # GTO orders by seconds
    gto(project, "deprecate", "vlp")
    assert (registry.versions(), registry.champion()) == ([], None)
    time.sleep(1.1)
    pipelines.change(project, "params.yaml", train__skill=0.9)
    third = registry.register(pipelines.commit(project))
    assert registry.versions() == [first, second, third]
    assert registry.champion() == first
