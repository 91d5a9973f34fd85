"""Any name becomes one that a branch, a folder and an artifact may have."""

from __future__ import annotations

import re

import pytest

from flows import names


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("eager-otter", "eager-otter"),
        ("Nightly Run / 2", "nightly-run-2"),
        ("../../etc", "etc"),
        ("Läufe", "laufe"),
        ("数据", "run"),
        ("a.lock", "a-lock"),
        ("-", "run"),
        ("x" * 300, "x" * 60),
        ("ab " * 40, "-".join(["ab"] * 20)),
    ],
)
def test_what_a_name_becomes(name, expected):
    assert names.plain(name) == expected
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", names.plain(name))
