"""A model that finds nothing is not called a success."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from LandmarkDetectionLib.model.bundle import Bundle, load_bundle
from LandmarkDetectionLib.model.doubt import doubt_of
from LandmarkDetectionLib.resources import bundled_model


@pytest.fixture(scope="module")
def a_model() -> Bundle:
    folder = bundled_model()
    assert isinstance(folder, Path)
    return load_bundle(folder)


@pytest.mark.parametrize(("found", "words"), [(0.0, "found 0% of"), (0.49, "found 49% of")])
def test_a_model_that_found_little_is_doubted(a_model: Bundle, found: float, words: str) -> None:
    doubt = doubt_of(replace(a_model, metrics={"validation": {"val_found": found, "val_mre_mm": None}}))
    assert words in doubt and "trained too short" in doubt and "--hours" in doubt


def test_a_model_that_found_its_landmarks_or_was_not_asked_is_not(a_model: Bundle) -> None:
    assert doubt_of(a_model) == ""
    assert doubt_of(replace(a_model, metrics={"validation": {"val_found": 0.5}})) == ""
    assert doubt_of(replace(a_model, metrics={"validation": {}})) == ""
    assert doubt_of(replace(a_model, metrics={})) == ""
