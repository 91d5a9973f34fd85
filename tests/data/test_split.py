from __future__ import annotations

from collections import Counter
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlp.data.grouping import groups
from vlp.data.split import SPLITS, Members, SplitError, SplitParams, assign
from vlp.data.split import assign_all as assign_rows
from vlp.params import ParamsError, parse
from vlp.records import Finding


class Member(NamedTuple):
    record: str
    group: str
    official: str | None


def assign_all(members: list[Member], seed: int, params: SplitParams) -> tuple[dict[str, str], list[Finding]]:
    """The split of every record by its id."""
    ids, declared, official = (pa.chunked_array([list(column)], pa.string()) for column in zip(*members, strict=True))
    kept = np.ones(len(members), bool)
    found, findings = assign_rows(Members(ids, groups(declared, ids, []), official, kept), seed, params)
    return {each.record: SPLITS[place] for each, place in zip(members, found, strict=True) if place >= 0}, findings


def params(**changes: Any) -> SplitParams:
    return parse(SplitParams, {"train": 0.8, "validation": 0.1, "test": 0.1} | changes, "split")


def members(count: int, official: str | None = None, prefix: str = "r") -> list[Member]:
    return [Member(f"{prefix}{number}", f"{prefix}-group{number}", official) for number in range(count)]


@given(group=st.text(), seed=st.integers(0, 2**31))
def test_a_group_has_one_split_for_ever(group: str, seed: int) -> None:
    assert assign(group, seed, params()) == assign(group, seed, params())
    assert assign(group, seed, params()) in SPLITS


def test_shares_of_the_groups_are_as_asked() -> None:
    counts = Counter(assign(f"g{number}", 1, params()) for number in range(20_000))
    assert {name: counts[name] / 20_000 for name in SPLITS} == pytest.approx(
        {"train": 0.8, "validation": 0.1, "test": 0.1}, abs=0.01
    )


def test_another_seed_gives_other_splits() -> None:
    one, two = ([assign(f"g{number}", seed, params()) for number in range(200)] for seed in (1, 2))
    assert one != two


def test_a_data_set_that_grows_keeps_every_record_where_it_was() -> None:
    before, _ = assign_all(members(300), 1, params())
    after, _ = assign_all(members(600), 1, params())
    assert {record: after[record] for record in before} == before


def test_turns_give_test_splits_that_share_no_group_and_leave_none_out() -> None:
    shares = {"train": 0.7, "validation": 0.1, "test": 0.2}
    tested = []
    for turn in (0.0, 0.2, 0.4, 0.6, 0.8):
        found, _ = assign_all(members(500), 1, params(**shares, turn=turn))
        tested += [record for record, split in found.items() if split == "test"]
    assert sorted(tested) == sorted(member.record for member in members(500))
    assert assign_all(members(500), 1, params(**shares, turn=0.0)) == assign_all(members(500), 1, params(**shares))


def test_relatives_share_a_split() -> None:
    everyone = [Member(f"r{number}", f"g{number // 7}", None) for number in range(2000)]
    found, findings = assign_all(everyone, 1, params())
    assert not findings
    for start in range(0, 1995, 7):
        assert len({found[f"r{number}"] for number in range(start, start + 7)}) == 1


def test_official_splits_win() -> None:
    everyone = [*members(50, "train", "a"), *members(20, "validation", "b"), *members(20, "test", "c")]
    found, _ = assign_all(everyone, 1, params())
    assert {member.record: member.official for member in everyone} == found


def test_validation_is_carved_from_train_where_the_data_set_has_none() -> None:
    everyone = [*members(1000, "train", "a"), *members(200, "test", "c")]
    found, _ = assign_all(everyone, 1, params())
    assert {found[member.record] for member in everyone if member.official == "test"} == {"test"}
    carved = Counter(found[member.record] for member in everyone if member.official == "train")
    assert carved["test"] == 0
    assert carved["validation"] / 1000 == pytest.approx(0.1 / 0.9, abs=0.03)


def test_records_without_an_official_split_join_train() -> None:
    everyone = [*members(50, "train", "a"), *members(20, "validation", "b"), *members(20, "test", "c"), *members(9)]
    found, _ = assign_all(everyone, 1, params())
    assert {found[f"r{number}"] for number in range(9)} == {"train"}


TORN = [
    *members(40, "train", "a"),
    *members(10, "validation", "b"),
    *members(10, "test", "c"),
    Member("x", "torn", "train"),
    Member("y", "torn", "test"),
    Member("z", "torn", None),
]


def test_a_group_in_two_official_splits_loses_its_members_outside_test() -> None:
    found, (finding,) = assign_all(TORN, 1, params())
    assert "x" not in found
    assert (found["y"], found["z"]) == ("test", "test")
    assert (finding.record, finding.reason, finding.action) == ("x", "split_conflict", "rejected")
    assert finding.detail == "officially in train, while group 'torn' is in test too"


def test_a_leak_can_be_kept_to_compare_with_published_figures() -> None:
    found, (finding,) = assign_all(TORN, 1, params(official_conflicts="keep"))
    assert (found["x"], found["y"]) == ("train", "test")
    assert finding.action == "reported"


def test_a_split_that_conflicts_emptied_is_an_error_that_says_so() -> None:
    both = [Member(f"{split}{number}", f"g{number}", split) for number in range(4) for split in ("train", "test")]
    with pytest.raises(SplitError, match=r"all 4 records of the official split train share a group with a later split"):
        assign_all(both, 1, params(validation=0.0, train=0.9, test=0.1))


def test_an_empty_split_is_an_error_that_says_what_to_do() -> None:
    with pytest.raises(SplitError, match=r"(train|validation|test) would be empty: 1 records in 1 groups, .*give more"):
        assign_all(members(1), 1, params())


def test_an_unknown_official_split_names_record_and_name() -> None:
    with pytest.raises(SplitError, match="record 'r0': official split 'dev' is none of train, validation, test"):
        assign_all(members(1, "dev"), 1, params())


@pytest.mark.parametrize("changes", [{"train": 0.9}, {"test": -0.1, "train": 1.0}, {"vali": 0.1}])
def test_shares_that_are_no_shares_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ParamsError, match=r"^split"):
        params(**changes)


def test_official_splits_need_no_share_and_folds_do_not_keep_them() -> None:
    own = [*members(60, "train"), *members(20, "validation", "v"), *members(20, "test", "t")]
    kept, _ = assign_all(own, 1, params(train=1.0, validation=0.0, test=0.0))
    assert Counter(kept.values()) == {"train": 60, "validation": 20, "test": 20}
    tested = []
    for turn in (0.0, 0.2, 0.4, 0.6, 0.8):
        shares = {"train": 0.7, "validation": 0.1, "test": 0.2, "turn": turn, "official": "ignore"}
        found, _ = assign_all(own, 1, params(**shares))
        tested += [record for record, split in found.items() if split == "test"]
    assert sorted(tested) == sorted(member.record for member in own)


def test_records_that_go_belong_to_no_split_and_do_not_make_one_official() -> None:
    ids = pa.chunked_array([[f"r{number}" for number in range(300)]])
    official = pa.chunked_array([[None] * 299 + ["train"]], pa.string())
    kept = np.arange(300) < 299
    found, _ = assign_rows(Members(ids, groups(ids, ids, []), official, kept), 1, params())
    assert found[299] == -1
    assert set(found[:299].tolist()) == {0, 1, 2}


@pytest.mark.parametrize("name", ["validation", "test"])
def test_an_official_split_of_which_cleaning_leaves_nothing_is_not_cut_from_train(name: str) -> None:
    ids = pa.chunked_array([[f"r{number}" for number in range(300)]])
    official = pa.chunked_array([["train"] * 298 + [name] * 2], pa.string())
    kept = np.arange(300) < 298
    whole = Members(ids, groups(ids, ids, []), official, kept)
    with pytest.raises(SplitError, match=f"cleaning rejects all 2 records of the official split {name}; look at"):
        assign_rows(whole, 1, params())
    found, _ = assign_rows(whole, 1, params(official="ignore"))
    assert set(found[:298].tolist()) == {0, 1, 2}
