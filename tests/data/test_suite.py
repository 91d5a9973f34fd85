from __future__ import annotations

from typing import Any

import pytest

from support.measures import params
from vlp.data.suite import checks
from vlp.params import ParamsError


def test_every_check_has_its_own_name() -> None:
    names = [each.name for each in checks(params(), "latin")]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("share", [0.7, 0.85, 0.1])
def test_a_share_at_its_limit_is_within_it(share: float) -> None:
    (check,) = [each for each in checks(params(max_reject_share=share), "latin") if each.name == "records_accepted"]
    assert check.arguments["mostly"] <= (20 - round(20 * share)) / 20


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mode": "strict"}, "validation: mode"),
        ({"max_reject_share": 1.5}, "validation: max_reject_share"),
        ({"caption_words": [9, 3]}, "fewest before most"),
        ({"max_rejects": 0.1}, "unknown key"),
    ],
)
def test_impossible_thresholds_are_one_line(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ParamsError) as error:
        params(**change)
    assert message in str(error.value)
    assert "\n" not in str(error.value)
