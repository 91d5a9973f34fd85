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


def settings(*entries: tuple[str, str]) -> dict[str, str]:
    found = {"GIT_CONFIG_COUNT": str(len(entries))}
    for number, (key, value) in enumerate(entries):
        found |= {f"GIT_CONFIG_KEY_{number}": key, f"GIT_CONFIG_VALUE_{number}": value}
    return found


SAFE = ("safe.directory", "*")
MIRROR = ("url.ssh://git@forge.example/.insteadOf", "https://forge.example/")
LOGINS = [
    ("url.https://oauth2:planted-token@forge.example/.insteadOf", "https://forge.example/"),
    ("url.https://planted-token@forge.example/.insteadOf", "https://forge.example/"),
    ("url.https://planted-token:x-oauth-basic@forge.example/.insteadOf", "https://forge.example/"),
    ("http.extraheader", "Authorization: Bearer planted-token"),
    ("http.https://forge.example/.extraHeader", "PRIVATE-TOKEN: planted-token"),
    ("http.proxy", "http://somebody:planted-token@proxy.example:3128"),
    ("credential.helper", "!f() { echo username=x; echo password=planted-token; }; f"),
]


@pytest.mark.parametrize("login", LOGINS, ids=[key.partition(".")[0] for key, _ in LOGINS])
def test_a_login_of_gits_reaches_git_and_neither_stages_nor_logs(monkeypatch, login):
    given = settings(SAFE, login, MIRROR)
    assert secrets.without({"PATH": "bin", **given}) == {"PATH": "bin", **settings(SAFE, MIRROR)}
    assert secrets.of_git({"PATH": "bin", **given}) == given
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    assert "planted" not in secrets.hide(f"{login} and planted-token alone")
    assert secrets.hide("from https://forge.example/ by ssh://git@forge.example/") == (
        "from https://forge.example/ by ssh://git@forge.example/"
    )


def test_settings_of_gits_without_a_login_are_passed_on_as_they_are():
    given = settings(SAFE, MIRROR) | {"GIT_CONFIG_COUNT": "nonsense"}
    assert secrets.without(given) == given, "git itself says what is wrong with them"


def test_a_value_is_hidden_whole_and_line_by_line(monkeypatch):
    monkeypatch.setenv("DEPLOY_PRIVATE_KEY", "-----BEGIN-----\nplanted-first\nplanted-second\n-----END-----\n")
    monkeypatch.setenv("SHORT_TOKEN", "abc")
    assert secrets.hide("it is planted-second, abc") == "it is •••, abc"
    assert "planted" not in secrets.hide("-----BEGIN-----\nplanted-first\nplanted-second\n-----END-----")
