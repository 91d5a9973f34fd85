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

_OF_GIT = "GIT_CONFIG_KEY_"
"""Names a setting. Without it git refuses to do anything: GIT_CONFIG_COUNT says how many there are."""


def is_secret(name: str) -> bool:
    """Whether the environment variable ``name`` holds a secret, by its name."""
    return bool(_NAME.search(name.upper())) and not name.startswith(_OF_GIT)


def without(environment: Mapping[str, str]) -> dict[str, str]:
    """``environment`` as a stage may see it: no secret but those of data remotes."""
    return {name: value for name, value in environment.items() if not is_secret(name) or name.startswith(_OF_REMOTES)}


def hide(text: str) -> str:
    """``text`` with the value of every secret of this process's environment replaced, and each line of a longer one."""
    secrets = [value for name, value in os.environ.items() if is_secret(name)]
    # A log is hidden line by line, where a private key never stands as a whole.
    parts = {part.strip() for value in secrets for part in (value, *value.splitlines())}
    for value in sorted((part for part in parts if len(part) >= SHORTEST), key=len, reverse=True):
        text = text.replace(value, HIDDEN)
    return text
