from __future__ import annotations

from pathlib import Path

import pytest

from vlp.data.image_folder import classes
from vlp.data.raw.root import Local, RootError
from vlp.records import Caption


@pytest.mark.parametrize(
    ("folder", "said"),
    [
        ("golden_retriever", "golden retriever"),
        ("GoldenRetriever", "golden retriever"),
        ("T-shirt", "t shirt"),
        ("狗", "狗"),
        ("BMW", "bmw"),
    ],
)
def test_a_folders_name_is_read_as_words(folder: str, said: str) -> None:
    assert classes.words(folder) == said


def test_the_false_twin_of_a_prompt_names_another_class_the_same_way_each_time() -> None:
    made = classes.captions(("a photo of {a_label}", "{label}"), "owl", ["cat", "dog"], "a.png")
    assert [caption.text for caption in made] == ["a photo of an owl", "owl"]
    assert made[0].negative in ("a photo of a cat", "a photo of a dog")
    assert made == classes.captions(("a photo of {a_label}", "{label}"), "owl", ["cat", "dog"], "a.png")
    assert classes.captions(("{label}",), "owl", [], "a.png") == (Caption(text="owl"),)


@pytest.mark.parametrize(
    "template", ["a photo", "{}", "{0}", "{label!r}", "{label:>9}", "{label.__class__}", "{", "{x}"]
)
def test_a_prompt_holds_a_class_and_no_code(template: str) -> None:
    assert not classes.is_prompt(template)


@pytest.mark.parametrize(
    "content", [b"", b"[1]", b'{"a": 1}', b'{"a": " "}', b"\xff", rb'{"a": "\ud800"}', b"[" * 100_000]
)
def test_names_that_are_no_names_are_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "names.json").write_bytes(content)
    with pytest.raises(RootError, match=r"class_names 'names\.json': "):
        classes.read_names(Local(tmp_path), "names.json")
