from __future__ import annotations

import pytest

from support.requests import LIMITS
from vlp.drift.settings import DriftParams
from vlp.params import ParamsError, parse


def test_more_violated_windows_than_are_looked_back_at_are_refused():
    with pytest.raises(ParamsError, match="drift: violated: 4 windows of the last 3 cannot be violated"):
        parse(DriftParams, LIMITS.model_dump() | {"violated": 4}, "drift")
