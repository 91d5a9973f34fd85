from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from service import settings
from support.served import ROOT


def test_variables_become_typed_settings() -> None:
    found = settings.read({"VLP_MAX_TEXTS": "7", "VLP_TIMEOUT_S": "1.5", "VLP_API_KEY": "", "HOME": "/"})
    assert (found.max_texts, found.timeout_s, found.api_key) == (7, 1.5, None)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("VLP_MAX_TEXT", "7", "VLP_MAX_TEXT: unknown setting; did you mean VLP_MAX_TEXTS?"),
        ("VLP_XYZ", "7", "VLP_XYZ: unknown setting; known: VLP_BUNDLE, VLP_API_KEY"),
        ("VLP_WORKERS", "0", "VLP_WORKERS: input should be greater than or equal to 1, found '0'"),
        ("VLP_TIMEOUT_S", "soon", "VLP_TIMEOUT_S: input should be a valid number"),
    ],
)
def test_a_variable_that_cannot_be_is_named(name: str, value: str, message: str) -> None:
    with pytest.raises(settings.SettingsError) as failure:
        settings.read({name: value})
    assert str(failure.value).startswith(message)


def test_a_key_that_is_too_short_is_not_repeated() -> None:
    with pytest.raises(settings.SettingsError, match="VLP_API_KEY") as failure:
        settings.read({"VLP_API_KEY": "hunter2"})
    assert "hunter2" not in str(failure.value)
    assert "a-key-of-good-length" not in repr(settings.read({"VLP_API_KEY": "a-key-of-good-length"}))


def test_a_key_from_a_file_loses_its_line_s_end() -> None:
    key = settings.read({"VLP_API_KEY": "a-key-of-good-length\n"}).api_key
    assert key is not None and key.get_secret_value() == "a-key-of-good-length"


@pytest.mark.parametrize("key", ["schlüssel-der-langen-art", "a key with spaces in it", "a-key-of-good\tlength"])
def test_a_key_that_no_header_can_hold_is_refused_and_not_repeated(key: str) -> None:
    with pytest.raises(settings.SettingsError, match="VLP_API_KEY: only letters, digits and signs of ASCII") as caught:
        settings.read({"VLP_API_KEY": key})
    assert key not in str(caught.value)


def test_a_short_key_is_told_its_length_and_not_repeated() -> None:
    with pytest.raises(settings.SettingsError, match=r"VLP_API_KEY: a key has at least 16 letters.*, not 13") as caught:
        settings.read({"VLP_API_KEY": "fifteen-signs"})
    assert "fifteen-signs" not in str(caught.value)


def test_every_setting_says_what_it_is() -> None:
    assert all(field.description for field in settings.Settings.model_fields.values())


def test_the_command_refuses_what_is_no_bundle_in_one_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "service", "--bundle", str(tmp_path / "none")]
    child = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert child.returncode == 1
    assert child.stderr == f"error: {tmp_path / 'none'}: no such folder; export a bundle first\n"
