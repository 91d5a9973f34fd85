from __future__ import annotations

import pyarrow as pa
import pytest

from support.measures import measured
from vlp.data.grouping import EXACT, NEAR, linked, near_to, same_as
from vlp.data.grouping import groups as groups_of_rows
from vlp.records import Finding, Measured


def groups(measures: list[Measured], findings: list[Finding]) -> dict[str, str]:
    """The group of each record by its id."""
    ids, declared = (pa.chunked_array([[getattr(each, name) for each in measures]]) for name in ("id", "group"))
    found = groups_of_rows(declared, ids, findings)
    return {each.id: str(found.names[int(number)]) for each, number in zip(measures, found.numbers, strict=True)}


def link(record: str, other: str, reason: str = NEAR) -> Finding:
    detail = near_to(other, 1.5) if reason == NEAR else same_as(other, file=False)
    return Finding(record=record, field="image", reason=reason, detail=detail, action="reported")


def test_without_duplicates_the_declared_groups_hold() -> None:
    assert groups([measured(1), measured(2, group="g1")], []) == {"r1": "g1", "r2": "g1"}


def test_duplicates_join_groups_and_chains_of_them() -> None:
    measures = [measured(1), measured(2), measured(3), measured(4), measured(5, group="g2")]
    found = groups(measures, [link("r2", "r1"), link("r3", "r2", EXACT)])
    assert found == {"r1": "g1", "r2": "g1", "r3": "g1", "r4": "g4", "r5": "g1"}


def test_the_first_declared_group_names_the_joined_one_whatever_the_order_of_findings() -> None:
    measures = [measured(number) for number in range(6)]
    links = [link("r5", "r4"), link("r4", "r3"), link("r3", "r0")]
    assert groups(measures, links) == groups(measures, links[::-1])
    assert groups(measures, links)["r5"] == "g0"


def test_other_findings_join_nothing() -> None:
    finding = Finding(record="r2", field="captions", reason="conflicting_captions", detail="same file as r1, …")
    assert groups([measured(1), measured(2)], [finding]) == {"r1": "g1", "r2": "g2"}


@pytest.mark.parametrize("name", ["r1", "a b/c.png", "distance 1.00 from x", "line\nbreak", "same file as"])
def test_the_other_record_of_a_link_reads_back_whatever_its_name(name: str) -> None:
    assert linked(link("r2", name)) == name
    assert linked(link("r2", name, EXACT)) == name


def test_a_link_that_names_no_record_is_an_error() -> None:
    finding = Finding(record="r2", field="image", reason=NEAR, detail="somewhere")
    with pytest.raises(ValueError, match="record 'r2': near_duplicate names no record"):
        linked(finding)


def test_a_finding_of_a_record_without_measures_is_an_error() -> None:
    with pytest.raises(ValueError, match="record 'r9': findings name it, and there are no measures of it"):
        groups([measured(1)], [link("r9", "r1")])
