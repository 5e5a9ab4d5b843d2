"""What a person is shown of the samples of a training."""

from __future__ import annotations

import numpy as np

from LandmarkDetectionLib.training.samples.shown import ShownSample, draw_samples

NOWHERE = np.full((1, 3), np.nan)
BLUE = np.array([86, 180, 233])


def sample(place: tuple[float, float, float] | None) -> ShownSample:
    image = np.zeros((24, 24, 24), np.float32)
    places = NOWHERE if place is None else np.array([place])
    if place is not None:
        x, y, z = np.rint(place).astype(int)
        image[z, y, x] = 1.0
    return ShownSample(image, places, NOWHERE)


def test_the_ring_of_a_target_lies_around_its_voxel_in_all_three_slices() -> None:
    sheet = draw_samples([sample((5, 9, 16))])
    scale = 144 // 24
    for number, (column, row) in enumerate([(5, 9), (5, 23 - 16), (9, 23 - 16)]):
        part = sheet[: 24 * scale, number * (24 * scale + 2) : number * (24 * scale + 2) + 24 * scale]
        rows, columns = np.nonzero((part == BLUE).all(axis=2))
        assert abs(rows.mean() - (row + 0.5) * scale) < 1.5
        assert abs(columns.mean() - (column + 0.5) * scale) < 1.5
        assert part[int((row + 0.5) * scale), int((column + 0.5) * scale)].tolist() == [255, 255, 255]


def test_a_sample_without_landmarks_is_drawn_through_its_middle() -> None:
    sheet = draw_samples([sample(None), sample((5, 9, 16)), sample(None)])
    assert not (sheet[:144, :440] == BLUE).all(axis=2).any()
    assert (sheet[:144, 450:] == BLUE).all(axis=2).any()
    assert sheet.shape[0] == 2 * 150
