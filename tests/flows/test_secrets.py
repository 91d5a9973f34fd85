"""What is taken for a secret by its name, and what of it a log may not show."""

from __future__ import annotations

import pytest

from flows import secrets


@pytest.mark.parametrize(
    "name",
    ["AWS_SECRET_ACCESS_KEY", "AZURE_STORAGE_CONNECTION_STRING", "AZURE_STORAGE_KEY", "ENCRYPTION_KEY",
     "MINIO_ACCESS_KEY", "VLP_API_KEY", "DEPLOY_PRIVATE_KEY", "GITHUB_TOKEN", "DB_PASSWORD",
     "PREFECT_API_DATABASE_CONNECTION_URL"],
)  # fmt: skip
def test_a_secret_is_known_by_its_name(name):
    assert secrets.is_secret(name)


@pytest.mark.parametrize("name", ["PATH", "MONKEYS", "KEYBOARD_LAYOUT", "OMP_NUM_THREADS"])
def test_what_is_none_is_passed_on(name):
    assert secrets.without({name: "value"}) == {name: "value"}


def test_stages_get_the_secrets_of_data_remotes_alone():
    environment = {"AZURE_STORAGE_CONNECTION_STRING": "a", "MINIO_ACCESS_KEY": "b", "PATH": "c"}
    assert secrets.without(environment) == {"AZURE_STORAGE_CONNECTION_STRING": "a", "PATH": "c"}


def test_a_value_is_hidden_whole_and_line_by_line(monkeypatch):
    monkeypatch.setenv("DEPLOY_PRIVATE_KEY", "-----BEGIN-----\nplanted-first\nplanted-second\n-----END-----\n")
    monkeypatch.setenv("SHORT_TOKEN", "abc")
    assert secrets.hide("it is planted-second, abc") == "it is •••, abc"
    assert "planted" not in secrets.hide("-----BEGIN-----\nplanted-first\nplanted-second\n-----END-----")
