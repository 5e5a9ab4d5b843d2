"""What a synthetic case looks like."""

from __future__ import annotations

from dataclasses import dataclass

from LandmarkDetectionLib.data.errors import InputError

_RANGES: dict[str, tuple[float, float]] = {
    "spacing": (0.2, 20.0),
    "max_anisotropy": (1.0, 5.0),
    "anisotropic_fraction": (0.0, 1.0),
    "max_rotation_degrees": (0.0, 180.0),
    "max_translation_mm": (0.0, 1000.0),
    "max_margin_mm": (0.0, 200.0),
    "max_oblique_degrees": (0.0, 180.0),
    "reorient_fraction": (0.0, 1.0),
    "shape_variation": (0.0, 1.0),
    "asymmetry": (0.0, 1.0),
    "cut_fraction": (0.0, 1.0),
    "metal_fraction": (0.0, 1.0),
    "noise_hu": (0.0, 1000.0),
    "max_jaw_opening_degrees": (0.0, 40.0),
}


@dataclass(frozen=True, kw_only=True)
class PhantomSettings:
    """Settings of the synthetic scanner and its patients; every effect is off at its lowest value.

    Attributes:
        spacing: voxel size, mm.
        max_anisotropy: on an anisotropic case one axis is coarser, by a factor of up to this.
        anisotropic_fraction: the chance that a case is anisotropic.
        max_rotation_degrees: the head turns about a random axis by up to this angle; 180 reaches any pose.
        max_translation_mm: the head's position in the world, along each axis, up to this from the origin.
        max_margin_mm: extra air beyond the head on each side of the field of view, up to this.
        max_oblique_degrees: tilt of the voxel grid against the world's axes, up to this.
        reorient_fraction: the chance that the voxel axes are flipped and permuted.
        shape_variation: how much individuals differ, 0 (all alike) to 1.
        asymmetry: how much left and right differ, 0 (mirror images) to 1.
        cut_fraction: the chance that the field of view ends short of a landmark.
        metal_fraction: the chance that a case has metal teeth and their streaks.
        noise_hu: standard deviation of the noise, HU.
        max_jaw_opening_degrees: the jaw is opened by up to this.
        partial_volume: whether a voxel at a surface takes a share of both tissues.

    Raises:
        InputError: if a number is out of its range.
    """

    spacing: float = 3.0
    max_anisotropy: float = 1.5
    anisotropic_fraction: float = 0.3
    max_rotation_degrees: float = 15.0
    max_translation_mm: float = 100.0
    max_margin_mm: float = 15.0
    max_oblique_degrees: float = 10.0
    reorient_fraction: float = 0.3
    shape_variation: float = 1.0
    asymmetry: float = 1.0
    cut_fraction: float = 0.2
    metal_fraction: float = 0.2
    noise_hu: float = 25.0
    max_jaw_opening_degrees: float = 0.0
    partial_volume: bool = True

    def __post_init__(self) -> None:
        for name, (low, high) in _RANGES.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise InputError(f"The phantom's setting '{name}' is {value}: give {low:g} to {high:g}.")

    @classmethod
    def plain(cls, *, spacing: float = 3.0) -> PhantomSettings:
        """Every effect off but the partial volume: the same upright, symmetric head each time."""
        return cls(
            spacing=spacing,
            max_anisotropy=1,
            anisotropic_fraction=0,
            max_rotation_degrees=0,
            max_translation_mm=0,
            max_margin_mm=0,
            max_oblique_degrees=0,
            reorient_fraction=0,
            shape_variation=0,
            asymmetry=0,
            cut_fraction=0,
            metal_fraction=0,
            noise_hu=0,
        )


def check_seed(seed: int) -> None:
    """Raise an `InputError` if the seed is negative."""
    if seed < 0:
        raise InputError(f"The phantom's seed is {seed}: give a whole number from 0 up.")
