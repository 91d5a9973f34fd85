"""The settings of the flows are typed, and a mistake is one line."""

from __future__ import annotations

import pytest
from ruamel.yaml import YAML

from flows import settings
from support.pipelines import PROJECT
from vlp.params import ParamsError


def test_the_projects_own_settings_are_valid_and_its_gate_is_on():
    found = settings.load(PROJECT)
    assert found.gate.mode == "enforce"
    stages = YAML(typ="safe").load((PROJECT / "dvc.yaml").read_text(encoding="utf-8"))
    assert found.artifact in stages["artifacts"]
    assert {each.task for each in found.gate.metrics} <= set(YAML(typ="safe").load(PROJECT / "params.yaml")["tasks"])


def test_the_gated_figures_are_figures_that_the_project_has():
    from flows import metrics

    figures, gate = metrics.read(PROJECT), settings.load(PROJECT).gate
    assert {f"{each.task}.{each.metric}" for each in gate.metrics} <= figures.keys()
    assert gate.latency in figures


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "mode: enforce",
            "mode: enforced",
            "gate.mode: input should be 'enforce', 'dry_run' or 'off', found \"enforced\"",
        ),
        ("resamples: 2000", "resample: 2000", "gate.resample: unknown key; did you mean 'resamples'?"),
        ("keep: 3", "keep: 1", "serving.keep: input should be greater than or equal to 2, found 1"),
        (
            '"{bundle}"',
            '"{bundel}"',
            "serving.serve: {bundel}: only bundle, port can stand in braces, not bundel; a brace that is meant is",
        ),
        (
            '"vlp:{version}"',
            '"vlp:{port}"',
            "serving.discard: vlp:{port}: only commit, dvc_lock, version can stand in braces, not port",
        ),
        ('"commit={commit}"', '"commit={commit"', "serving.package: commit={commit: expected '}' before end of string"),
        *(
            (
                "incoming: data/incoming",
                f"incoming: {elsewhere}",
                f"retrain.incoming: must be a folder below the project, relative to it and without '..', "
                f'found "{elsewhere}"',
            )
            for elsewhere in ("/mnt/usb", "../raw", "data/../../raw", ".")
        ),
    ],
)
def test_a_mistake_names_the_file_and_the_key(tmp_path, old, new, message):
    (tmp_path / "flows").mkdir()
    text = (PROJECT / settings.CONFIG).read_text(encoding="utf-8")
    assert old in text
    (tmp_path / settings.CONFIG).write_text(text.replace(old, new), encoding="utf-8")
    with pytest.raises(ParamsError) as caught:
        settings.load(tmp_path)
    assert message in str(caught.value)
    assert str(settings.CONFIG) in str(caught.value)
