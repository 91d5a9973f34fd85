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
"""Git's settings, numbered. The names say nothing: a login may be in a value, or in a key (``url.….insteadOf``)."""
_USER = re.compile(r"(\w+)://([^/@\s]+)@")
_LOGIN_KEY = re.compile(r"(extraheader|pass|passwd|password|token)$", re.IGNORECASE)
_SPOKEN = re.compile(r"(?:password|token)=([^\s;'\"]+)", re.IGNORECASE)
"""By a credential helper that is a line of shell."""


def is_secret(name: str) -> bool:
    """Whether the environment variable ``name`` holds a secret, by its name."""
    return bool(_NAME.search(name.upper())) and not name.startswith(_KEY)


def without(environment: Mapping[str, str]) -> dict[str, str]:
    """``environment`` as a stage may see it: no secret but those of data remotes, and git's settings but its logins."""
    found = {name: value for name, value in environment.items() if not is_secret(name) or name.startswith(_OF_REMOTES)}
    settings = _settings(environment)
    kept = [(number, key, value) for number, key, value in settings if not _logins(key, value)]
    if len(kept) == len(settings):
        return found
    # Git refuses to do anything where one is missing, so that they are numbered anew.
    count = int(environment[_COUNT]) if environment.get(_COUNT, "").isdecimal() else 0
    used = [(key, value) for number, key, value in kept if number < count]
    found = {name: value for name, value in found.items() if not name.startswith((_COUNT, _KEY, _VALUE))}
    for number, (key, value) in enumerate(used):
        found |= {f"{_KEY}{number}": key, f"{_VALUE}{number}": value}
    return found | {_COUNT: str(len(used))}


def of_git(environment: Mapping[str, str]) -> dict[str, str]:
    """The settings that ``environment`` gives git, logins included: for git itself, which needs them."""
    return {name: value for name, value in environment.items() if name.startswith((_COUNT, _KEY, _VALUE))}


def hide(text: str) -> str:
    """``text`` with the value of every secret of this process's environment replaced, and each line of a longer one."""
    secrets = [value for name, value in os.environ.items() if is_secret(name)]
    secrets += [part for _, key, value in _settings(os.environ) for part in _logins(key, value)]
    # A log is hidden line by line, where a private key never stands as a whole.
    parts = {part.strip() for value in secrets for part in (value, *value.splitlines())}
    for value in sorted((part for part in parts if len(part) >= SHORTEST), key=len, reverse=True):
        text = text.replace(value, HIDDEN)
    return text


def _settings(environment: Mapping[str, str]) -> list[tuple[int, str, str]]:
    """Git's settings: number, key and value."""
    numbers = [name.removeprefix(_KEY) for name in environment if name.startswith(_KEY)]
    return [
        (number, environment[f"{_KEY}{number}"], environment.get(f"{_VALUE}{number}", ""))
        for number in sorted(int(text) for text in numbers if text.isdecimal() and str(int(text)) == text)
    ]


def _logins(key: str, value: str) -> list[str]:
    """What of one setting of git's lets somebody in."""
    found = []
    for scheme, user in _USER.findall(f"{key} {value}"):
        name, colon, password = user.partition(":")
        if colon:
            # A token may stand in the place of the name, with a word for the password that says so.
            found += [user, password if password not in ("", "x-oauth-basic") else name]
        elif scheme.startswith("http"):  # of ssh it is a name alone
            found.append(user)
    if _LOGIN_KEY.search(key) and value:
        found += [value, value.split()[-1]]  # of a header, what stands behind its name and scheme
    return found + _SPOKEN.findall(value)
