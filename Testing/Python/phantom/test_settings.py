"""What the synthetic scanner accepts."""

from __future__ import annotations

import math
from dataclasses import FrozenInstanceError
from typing import Any

import pytest

from LandmarkDetectionLib.data.errors import InputError
from LandmarkDetectionLib.phantom.settings import PhantomSettings
from LandmarkDetectionLib.phantom.skull import make_case


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("spacing", 0.0),
        ("spacing", -1.0),
        ("spacing", math.nan),
        ("spacing", math.inf),
        ("max_anisotropy", 0.9),
        ("anisotropic_fraction", 1.1),
        ("max_rotation_degrees", 181.0),
        ("max_translation_mm", -1.0),
        ("max_margin_mm", -1.0),
        ("max_oblique_degrees", -1.0),
        ("reorient_fraction", 2.0),
        ("shape_variation", -0.1),
        ("asymmetry", 1.5),
        ("cut_fraction", -0.5),
        ("metal_fraction", 1.01),
        ("noise_hu", -5.0),
    ],
)
def test_a_setting_out_of_range_is_refused_in_one_sentence(name: str, value: float) -> None:
    wrong: dict[str, Any] = {name: value}
    with pytest.raises(InputError, match=rf"^The phantom's setting '{name}' is {value}: give .+\.$"):
        PhantomSettings(**wrong)


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        PhantomSettings().spacing = 1.0  # type: ignore[misc]


def test_a_negative_seed_is_refused() -> None:
    with pytest.raises(InputError, match="seed is -1"):
        make_case(PhantomSettings(), -1)
