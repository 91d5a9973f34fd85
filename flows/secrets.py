"""Secrets stay in the environment of the flow: stages do not get them, and no line that is kept shows one."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

HIDDEN = "•••"
SHORTEST = 6
"""Characters below which a value is too common a text to be hidden wherever it stands."""

_NAME = re.compile(
    r"TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIAL|APIKEY|(^|_)KEY(_|$)|AUTH_STRING|WEBHOOK|CONNECTION_(URL|STRING)"
)
_OF_REMOTES = ("AWS_", "AZURE_", "GOOGLE_", "OSS_", "SSH_")
"""What ``dvc pull`` and ``dvc push`` log in with; passed on, and hidden like the rest."""

_COUNT, _KEY, _VALUE = "GIT_CONFIG_COUNT", "GIT_CONFIG_KEY_", "GIT_CONFIG_VALUE_"
"""Settings of git's, numbered from 0: without one of as many keys as are counted, git refuses to do anything."""
_USER = re.compile(r"//([^/@\s]+)@")
"""Who logs in, in an address."""


def is_secret(name: str) -> bool:
    """Whether the environment variable ``name`` holds a secret, by its name."""
    return bool(_NAME.search(name.upper())) and not name.startswith(_KEY)


def without(environment: Mapping[str, str]) -> dict[str, str]:
    """``environment`` as a stage may see it: no secret but those of data remotes; of git's settings no login."""
    kept = {name: value for name, value in environment.items() if not is_secret(name) or name.startswith(_OF_REMOTES)}
    settings = [(key, value) for key, value in _of_git(environment) if not _logins(key, value)]
    if len(settings) == len(_of_git(environment)):
        return kept
    kept = {name: value for name, value in kept.items() if not name.startswith((_COUNT, _KEY, _VALUE))}
    numbered = [(f"{_KEY}{n}", key, f"{_VALUE}{n}", value) for n, (key, value) in enumerate(settings)]
    return (
        kept
        | {_COUNT: str(len(settings))}
        | {name: text for k, key, v, value in numbered for name, text in ((k, key), (v, value))}
    )


def _of_git(environment: Mapping[str, str]) -> list[tuple[str, str]]:
    """Keys and values of git's settings in ``environment``."""
    count = environment.get(_COUNT) or "0"
    numbers = range(int(count) if count.isdecimal() else 0)
    return [(environment.get(f"{_KEY}{n}", ""), environment.get(f"{_VALUE}{n}", "")) for n in numbers]


def _logins(key: str, value: str) -> list[str]:
    """What of a setting of git's logs in: a user in an address, or a header that is shown to the server."""
    users = [user for text in (key, value) for user in _USER.findall(text)]
    header = value.partition(":")[2].split() if key.lower().endswith(".extraheader") else []
    return [*users, *(user.partition(":")[2] for user in users if ":" in user), *header[-1:]]


def hide(text: str) -> str:
    """``text`` with the value of every secret of this process's environment replaced, and each line of a longer one."""
    secrets = [value for name, value in os.environ.items() if is_secret(name)]
    secrets += [each for setting in _of_git(os.environ) for each in _logins(*setting)]
    # A log is hidden line by line, where a private key never stands as a whole.
    parts = {part.strip() for value in secrets for part in (value, *value.splitlines())}
    for value in sorted((part for part in parts if len(part) >= SHORTEST), key=len, reverse=True):
        text = text.replace(value, HIDDEN)
    return text
