"""Splits and folds: no group torn apart, sizes as asked, the same every time."""

from collections import defaultdict
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from LandmarkDetectionLib.data.cases import Case, read_split
from LandmarkDetectionLib.data.errors import InputError
from LandmarkDetectionLib.data.splits import PARTS, Parts, k_folds, split_by_group, write_folds, write_splits
from LandmarkDetectionLib.data.table import LandmarkTable, read_table

SEEDS = st.integers(0, 1000)


def make_cases(sizes: list[int]) -> list[Case]:
    """A group of each size; a group of one has no name."""
    return [
        Case(
            f"case {group}-{member}",
            Path(f"{group}-{member}.nii"),
            group=f"group {group}" if size > 1 else "",
        )
        for group, size in enumerate(sizes)
        for member in range(size)
    ]


CASES = st.lists(st.integers(1, 6), min_size=3, max_size=25).map(make_cases)


def assert_divided(parts: Parts, cases: list[Case]) -> None:
    """Each case stands in one part, and each group too."""
    homes = defaultdict(set)
    for part, members in parts.items():
        for case in members:
            homes[case.group or case.name].add(part)
    assert sorted(case.name for members in parts.values() for case in members) == sorted(
        c.name for c in cases
    )
    assert all(len(where) == 1 for where in homes.values())


@given(CASES, SEEDS, st.floats(0.05, 0.4), st.floats(0.05, 0.4))
def test_a_group_is_never_torn_apart(cases: list[Case], seed: int, val: float, test: float) -> None:
    parts = split_by_group(cases, val=val, test=test, seed=seed)
    assert list(parts) == list(PARTS)
    assert all(parts.values())
    assert_divided(parts, cases)


@given(st.lists(st.sampled_from([1, 1, 1, 2, 3]), min_size=20, max_size=60).map(make_cases), SEEDS)
def test_parts_have_the_sizes_asked_for(cases: list[Case], seed: int) -> None:
    parts = split_by_group(cases, val=0.2, test=0.2, seed=seed)
    for part, share in (("train", 0.6), ("val", 0.2), ("test", 0.2)):
        assert abs(len(parts[part]) - share * len(cases)) <= 2


@given(SEEDS)
def test_a_large_family_does_not_spoil_the_sizes(seed: int) -> None:
    parts = split_by_group(make_cases([8] + [1] * 12), val=0.2, test=0.2, seed=seed)
    assert [len(parts[part]) for part in PARTS] == [12, 4, 4]


def test_single_cases_are_divided_to_the_case() -> None:
    parts = split_by_group(make_cases([1] * 50), val=0.1, test=0.3, seed=0)
    assert [len(parts[part]) for part in PARTS] == [30, 5, 15]


@given(CASES, SEEDS, st.randoms())
def test_the_order_of_the_cases_does_not_matter(cases: list[Case], seed: int, random: Random) -> None:
    shuffled = list(cases)
    random.shuffle(shuffled)
    assert split_by_group(shuffled, val=0.2, test=0.2, seed=seed) == split_by_group(
        cases, val=0.2, test=0.2, seed=seed
    )
    assert k_folds(shuffled, folds=3, seed=seed, val=0) == k_folds(cases, folds=3, seed=seed, val=0)


def test_another_seed_gives_another_split() -> None:
    cases = make_cases([1] * 20)
    assert split_by_group(cases, val=0.2, test=0.2, seed=0) != split_by_group(
        cases, val=0.2, test=0.2, seed=1
    )


def test_a_part_of_fraction_zero_is_empty() -> None:
    parts = split_by_group(make_cases([1] * 10), val=0.2, test=0, seed=0)
    assert parts["test"] == []
    assert len(parts["val"]) == 2


@pytest.mark.parametrize(("val", "test"), [(-0.1, 0.2), (0.5, 0.5), (0.2, 1.0), (float("nan"), 0.2)])
def test_fractions_that_leave_nothing_for_training_are_refused(val: float, test: float) -> None:
    with pytest.raises(InputError, match="less than 1"):
        split_by_group(make_cases([1] * 10), val=val, test=test, seed=0)


def test_fewer_groups_than_parts_are_refused() -> None:
    with pytest.raises(InputError, match=r"2 group\(s\) cannot fill 3 parts"):
        split_by_group(make_cases([5, 5]), val=0.2, test=0.2, seed=0)


@given(st.lists(st.integers(1, 4), min_size=8, max_size=25).map(make_cases), SEEDS, st.integers(2, 6))
def test_every_case_is_tested_in_one_fold(cases: list[Case], seed: int, folds: int) -> None:
    divisions = k_folds(cases, folds=folds, seed=seed, val=0.2)
    for parts in divisions:
        assert_divided(parts, cases)
    tested = [case.name for parts in divisions for case in parts["test"]]
    assert sorted(tested) == sorted(case.name for case in cases)


def test_folds_of_single_cases_differ_by_one_case_at_most() -> None:
    sizes = {len(parts["test"]) for parts in k_folds(make_cases([1] * 23), folds=5, seed=0)}
    assert sizes == {4, 5}


@pytest.mark.parametrize("folds", [1, 0, 11])
def test_a_number_of_folds_that_the_groups_cannot_fill_is_refused(folds: int) -> None:
    with pytest.raises(InputError, match="it must be 2 to 10"):
        k_folds(make_cases([1] * 10), folds=folds, seed=0)


def test_split_files_are_written_with_the_table(tmp_path: Path) -> None:
    cases = [Case(f"c{number}", tmp_path / f"{number}.nii") for number in range(6)]
    for case in cases:
        case.image_path.touch()
    table = LandmarkTable.from_names(["nasion"])
    parts = split_by_group(cases, val=0.2, test=0.2, seed=0)
    paths = write_splits(parts, tmp_path / "splits", table)
    assert [path.name for path in paths] == ["train.csv", "val.csv", "test.csv"]
    assert {path.stem: read_split(path, supervised=False) for path in paths}.keys() == parts.keys()
    assert [case.name for case in read_split(paths[2], supervised=False)] == [
        case.name for case in parts["test"]
    ]
    assert read_table(tmp_path / "splits" / "landmarks.csv") == table


def test_a_split_of_before_does_not_stay_behind(tmp_path: Path) -> None:
    cases = make_cases([1] * 10)
    write_splits(split_by_group(cases, val=0.2, test=0.2, seed=0), tmp_path)
    write_splits(split_by_group(cases, val=0.2, test=0, seed=0), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["train.csv", "val.csv"]


def test_each_fold_has_a_folder(tmp_path: Path) -> None:
    write_folds(k_folds(make_cases([1] * 9), folds=3, seed=0), tmp_path)
    assert sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.csv")) == [
        f"fold_{fold}/{part}.csv" for fold in range(3) for part in ("test", "train", "val")
    ]


def test_folds_of_before_do_not_stay_behind(tmp_path: Path) -> None:
    write_folds(k_folds(make_cases([1] * 9), folds=4, seed=0), tmp_path)
    (tmp_path / "fold_best").mkdir()
    (tmp_path / "fold_best" / "train.csv").write_text("a person's own")
    (tmp_path / "fold_notes.txt").write_text("a person's own")
    write_folds(k_folds(make_cases([1] * 9), folds=2, seed=0), tmp_path)
    assert {path.parent.name for path in tmp_path.rglob("*.csv")} == {"fold_0", "fold_1", "fold_best"}
