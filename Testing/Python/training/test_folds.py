"""Cross-validation within one configuration."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from LandmarkDetectionLib.data.errors import InputError
from LandmarkDetectionLib.data.frame import Frame
from LandmarkDetectionLib.training.cases.cache import PreparedCase
from LandmarkDetectionLib.training.cases.folds import Fold, take_fold


def cases_of(groups: list[str]) -> list[PreparedCase]:
    frame = Frame(size=(2, 2, 2))
    return [
        PreparedCase(
            f"case {row}",
            group,
            Path(f"{row}.npy"),
            frame,
            frame.spacing,
            np.zeros((1, 3)),
            np.ones(1, bool),
            -1.0,
        )
        for row, group in enumerate(groups)
    ]


@pytest.mark.parametrize(("text", "fold"), [("1/2", Fold(1, 2)), ("5/5", Fold(5, 5)), ("3/10", Fold(3, 10))])
def test_a_fold_is_read(text: str, fold: Fold) -> None:
    assert Fold.parse(text) == fold


@pytest.mark.parametrize("text", ["", "2", "0/5", "6/5", "1/1", "-1/5", "a/b", "1/5/7", "1 / 5"])
def test_anything_else_is_refused_in_a_sentence(text: str) -> None:
    with pytest.raises(InputError, match=r"--fold .*: write k/n"):
        Fold.parse(text)


@given(
    st.lists(st.sampled_from(["", "a", "b", "c", "d"]), min_size=6, max_size=20),
    st.integers(2, 4),
    st.integers(0, 99),
)
def test_every_case_is_held_out_once_with_all_its_group(groups: list[str], count: int, seed: int) -> None:
    cases = cases_of(groups)
    if len({group or f"alone {row}" for row, group in enumerate(groups)}) < count:
        with pytest.raises(InputError, match="group"):
            take_fold(cases, Fold(1, count), seed=seed)
        return
    held_out: list[str] = []
    for number in range(1, count + 1):
        train, val = take_fold(cases, Fold(number, count), seed=seed)
        assert sorted(case.name for case in (*train, *val)) == sorted(case.name for case in cases)
        assert train
        assert val
        assert not {case.group for case in train if case.group} & {case.group for case in val if case.group}
        held_out += [case.name for case in val]
    assert sorted(held_out) == sorted(case.name for case in cases)


def test_the_seed_decides_the_folds_and_the_order_of_the_cases_does_not() -> None:
    cases = cases_of([""] * 12)

    def held_out(rows: list[PreparedCase], seed: int) -> set[str]:
        return {case.name for case in take_fold(rows, Fold(1, 3), seed=seed)[1]}

    assert held_out(cases, 4) == held_out(cases[::-1], 4)
    assert len({frozenset(held_out(cases, seed)) for seed in range(8)}) > 1
