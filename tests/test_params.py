from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest
from pydantic import Field, ValidationError

from vlp.params import ParamsError, Section, load, load_section, parse, read


class Image(Section):
    size: int = Field(gt=0)
    resize: Literal["pad", "crop"] = "pad"


class Params(Section):
    seed: int
    image: Image
    share: float = 0.5
    names: tuple[str, ...] = ()


def complaint(value: object) -> str:
    with pytest.raises(ParamsError) as refused:
        parse(Params, value, "params.yaml")
    return str(refused.value)


def test_a_section_is_typed_and_frozen():
    params = parse(Params, {"seed": 7, "image": {"size": 64}, "names": ["a", "b"]}, "params.yaml")
    assert (params.image.size, params.image.resize, params.names) == (64, "pad", ("a", "b"))
    with pytest.raises(ValidationError, match="frozen"):
        params.seed = 8


def test_a_whole_number_is_a_float_where_one_is_expected():
    assert parse(Params, {"seed": 7, "image": {"size": 64}, "share": 1}, "params.yaml").share == 1.0


@pytest.mark.parametrize(
    ("value", "line"),
    [
        ({"seed": 7}, "params.yaml: image: missing"),
        ({"sed": 7, "seed": 7, "image": {"size": 1}}, "params.yaml: sed: unknown key; did you mean 'seed'?"),
        ({"seed": 7, "image": {"size": 1, "sice": 2}}, "params.yaml: image.sice: unknown key; did you mean 'size'?"),
        ({"seed": 7, "image": {"size": 1, "q": 2}}, "params.yaml: image.q: unknown key; valid names: resize, size"),
        ({"seed": "7", "image": {"size": 1}}, 'params.yaml: seed: input should be a valid integer, found "7"'),
        ({"seed": 7.0, "image": {"size": 1}}, "params.yaml: seed: input should be a valid integer, found 7.0"),
        ({"seed": 7, "image": {"size": 0}}, "params.yaml: image.size: input should be greater than 0, found 0"),
        (
            {"seed": 7, "image": {"size": 1, "resize": "fill"}},
            "params.yaml: image.resize: input should be 'pad' or 'crop', found \"fill\"",
        ),
        ({"seed": 7, "image": [1]}, "params.yaml: image: input should be an object, found [1]"),
    ],
)
def test_a_mistake_is_one_line_with_file_section_key_and_what_is_valid(value, line):
    assert complaint(value) == line


def test_every_mistake_has_its_line():
    lines = complaint({"seed": True, "image": {"size": -1}, "names": "a"}).splitlines()
    assert [line.split(": ")[1] for line in lines] == ["seed", "image.size", "names"]


def test_a_long_value_is_shortened_in_the_message():
    assert complaint({"seed": "x" * 500, "image": {"size": 1}}).endswith('found "' + "x" * 56 + "...")


def test_not_a_number_is_no_number():
    assert "share" in complaint({"seed": 7, "image": {"size": 1}, "share": float("nan")})


# Files


def write(folder: Path, params: str, graph: str | None = None) -> Path:
    if graph is not None:
        (folder / "dvc.yaml").write_text(graph, encoding="utf-8")
    path = folder / "params.yaml"
    path.write_text(params, encoding="utf-8")
    return path


def test_numbers_are_read_as_dvc_reads_them(tmp_path):
    assert read(write(tmp_path, "rate: 1e-3\nyes: yes\nold: 010\n")) == {"rate": 0.001, "yes": "yes", "old": 10}


def test_only_the_named_sections_are_read(tmp_path):
    path = write(tmp_path, "seed: 7\nimage: {size: 64}\nother: {anything: goes}\n")
    assert load(Params, path) == Params(seed=7, image=Image(size=64))


def test_a_section_that_no_stage_reads_is_an_error_beside_a_graph(tmp_path):
    graph = "stages:\n  a: {cmd: x, params: [seed, image, 'sources.${s}']}\n  b: {foreach: '${tasks}', do: {cmd: y}}\n"
    path = write(tmp_path, "seed: 7\nimage: {size: 64}\ntasks: {}\nsources: {}\nimmage: {size: 3}\n", graph)
    with pytest.raises(ParamsError, match=r"params.yaml: immage: no stage reads this section; did you mean 'image'\?"):
        load(Params, path)


def test_one_section_is_read_by_its_dotted_name(tmp_path):
    path = write(tmp_path, "tasks: {matching: {size: 3}}\n")
    assert load_section("tasks.matching", Image, path) == Image(size=3)


@pytest.mark.parametrize(
    ("dotted", "message"),
    [
        ("tasks.matchin", "tasks.matchin: missing; did you mean 'matching'?"),
        ("task.matching", "task: missing; did you mean 'tasks'?"),
        ("tasks.matching.size.more", "tasks.matching.size.more: missing"),
    ],
)
def test_a_section_that_is_not_there_names_the_nearest(tmp_path, dotted, message):
    path = write(tmp_path, "tasks: {matching: {size: 3}}\n")
    with pytest.raises(ParamsError) as refused:
        load_section(dotted, Image, path)
    assert str(refused.value) == f"{path}: {message}"


@pytest.mark.parametrize(
    ("text", "message"),
    [("a: [", "not valid YAML"), ("- 1\n", "expected sections, found list"), ("", "expected sections")],
)
def test_a_file_that_is_no_mapping_is_refused(tmp_path, text, message):
    with pytest.raises(ParamsError, match=message):
        read(write(tmp_path, text))


def test_a_missing_file_says_where_to_run(tmp_path):
    with pytest.raises(ParamsError, match="no such file; run from the project's root"):
        read(tmp_path / "params.yaml")
