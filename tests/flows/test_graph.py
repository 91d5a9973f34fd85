"""The graph is DVC's own: its stages, their order, and what is out of date."""

from __future__ import annotations

import pytest

from flows import graph
from flows.graph import Graph
from support import pipelines

DIAMOND = Graph({"a": (), "b": ("a",), "c": ("a",), "d": ("b", "c")})


def test_stages_come_after_all_that_they_need(project):
    found, changed = graph.read(project)
    assert found.needs.keys() == pipelines.NAMES
    order = list(found.needs)
    assert all(order.index(need) < order.index(stage) for stage, needs in found.needs.items() for need in needs)
    assert found.needs["side@left"] == ("train",)
    assert found.needs["evaluate"] == ("train", "validate")
    assert changed == set()


def test_a_changed_parameter_changes_the_stage_that_reads_it(project):
    pipelines.change(project, "params.yaml", train__skill=0.8)
    found, changed = graph.read(project)
    assert changed == {"train"}
    assert found.outdated(changed) == {"train", "side@left", "side@right", "evaluate", "export", "samples"}


def test_data_that_are_not_there_are_missed_by_who_reads_them(project):
    assert not any(graph.read(project)[0].missing.values())
    (project / "data" / "incoming" / "first.jsonl").unlink()
    found, changed = graph.read(project)
    assert {stage: notes for stage, notes in found.missing.items() if notes} == {
        "validate": ("data/incoming/first.jsonl.dvc",)
    }
    assert "validate" in changed


def test_what_comes_after_a_change_may_be_outdated_and_nothing_else():
    assert DIAMOND.outdated(set()) == set()
    assert DIAMOND.outdated({"b"}) == {"b", "d"}
    assert DIAMOND.outdated({"a"}) == {"a", "b", "c", "d"}


def test_a_target_brings_what_it_needs():
    assert DIAMOND.behind(()) == DIAMOND
    assert list(DIAMOND.behind(("c",)).needs) == ["a", "c"]
    tasks = Graph({"a": (), "tune@x": ("a",), "tune@y": ("a",)})
    assert list(tasks.behind(("tune",)).needs) == ["a", "tune@x", "tune@y"]
    with pytest.raises(ValueError, match=r"no stage 'e' in dvc\.yaml; there is a, b, c, d"):
        DIAMOND.behind(("e",))
