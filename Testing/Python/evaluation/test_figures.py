"""Pictures of slices with truth and detection: right place, right way round, right labels."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from LandmarkDetectionLib.data.errors import InputError
from LandmarkDetectionLib.data.frame import Frame
from LandmarkDetectionLib.data.landmark_files import read_landmarks
from LandmarkDetectionLib.data.landmarks import LandmarkSet
from LandmarkDetectionLib.data.volume import Volume, read_volume
from LandmarkDetectionLib.detection.results import CaseDetections, Detection
from LandmarkDetectionLib.evaluation.figures import case_figure, draw_case
from LandmarkDetectionLib.evaluation.views import View, anatomical_label, views

STORAGE_ORDERS = [
    (order, flips)
    for order in itertools.permutations(range(3))
    for flips in itertools.product((False, True), repeat=3)
]
SPOT = (7, 3, 5)


def spotted() -> Volume:
    """Noise on an anisotropic LPS grid with a bright cube of 27 voxels around `SPOT`, (i, j, k)."""
    voxels = np.random.default_rng(0).uniform(0, 50, (9, 14, 11))
    voxels[tuple(slice(place - 1, place + 2) for place in reversed(SPOT))] = 255
    frame = Frame(size=(11, 14, 9), origin=(-30, 5, 100), spacing=(0.5, 0.75, 1.5))
    return Volume(voxels, frame)


def stored(volume: Volume, order: tuple[int, ...], flips: tuple[bool, ...]) -> Volume:
    """The same anatomy, its voxel axes (i, j, k) in another order and each stored backwards or not."""
    frame, size = volume.frame, np.array(volume.frame.size)
    first = np.where(flips, size[list(order)] - 1, 0)
    corner = np.zeros(3)
    corner[list(order)] = first
    signs = np.where(flips, -1.0, 1.0)
    by_ijk = volume.voxels.transpose(2, 1, 0).transpose(order)[
        tuple(slice(None, None, int(s)) for s in signs)
    ]
    return Volume(
        by_ijk.transpose(2, 1, 0),
        Frame(
            size=size[list(order)],
            origin=frame.index_to_world(corner),
            spacing=frame.spacing[list(order)],
            direction=frame.direction[:, list(order)] * signs,
        ),
    )


def spot_sets(offset: tuple[float, float, float]) -> tuple[LandmarkSet, CaseDetections]:
    centre = spotted().frame.index_to_world(SPOT)
    detection = Detection("spot", centre + offset, "found", 0.8, 0.6)
    return LandmarkSet(["spot"], centre[None]), CaseDetections("case", (detection,))


def test_an_lps_scan_is_shown_as_radiologists_look_at_it() -> None:
    axial, coronal, sagittal = views(spotted().frame)
    assert sides(axial) == ("axial", "R", "L", "P", "A")
    assert sides(coronal) == ("coronal", "R", "L", "I", "S")
    assert sides(sagittal) == ("sagittal", "A", "P", "I", "S")


@pytest.mark.parametrize(("order", "flips"), STORAGE_ORDERS)
def test_the_same_anatomy_in_any_of_48_storage_orders_looks_the_same(
    order: tuple[int, ...], flips: tuple[bool, ...]
) -> None:
    volume, again = spotted(), stored(spotted(), order, flips)
    point = volume.frame.index_to_world(SPOT) + np.array((0.1, -0.2, 0.3))
    for ours, theirs in zip(views(volume.frame), views(again.frame), strict=True):
        assert sides(theirs) == sides(ours)
        np.testing.assert_array_equal(upright(theirs, again, point), upright(ours, volume, point))
        np.testing.assert_allclose(
            from_lower_left(theirs, again, point), from_lower_left(ours, volume, point), atol=1e-9
        )


@pytest.mark.parametrize(
    ("order", "flips"), [((2, 0, 1), (True, False, True)), ((1, 0, 2), (False, True, True))]
)
def test_the_whole_figure_is_the_same_pixel_for_pixel(
    order: tuple[int, ...], flips: tuple[bool, ...]
) -> None:
    sets = spot_sets((0.4, 0.9, -0.5))
    ours = pixels(case_figure(spotted(), *sets))
    theirs = pixels(case_figure(stored(spotted(), order, flips), *sets))
    assert (np.abs(ours.astype(int) - theirs) > 40).mean() < 0.002  # edges of voxels and markers


@pytest.mark.parametrize(("order", "flips"), STORAGE_ORDERS[::7])
def test_the_truth_is_drawn_on_the_voxel_that_it_is_in(
    order: tuple[int, ...], flips: tuple[bool, ...]
) -> None:
    figure = case_figure(stored(spotted(), order, flips), spot_sets((0, 0, 0))[0], None)
    places = [(ax, marker(ax, "o")) for ax in figure.axes]
    for ax, _ in places:
        for artist in (*ax.lines, *ax.patches, *ax.texts):
            artist.set_visible(False)
    image = pixels(figure)
    for ax, place in places:
        column, row = ax.transData.transform(place)
        assert image[image.shape[0] - 1 - int(row), int(column), 0] > 200


def test_the_detection_is_drawn_where_it_is_in_every_slice() -> None:
    """It lies 0.4 mm further left, 0.9 mm further back and 0.5 mm further down than the truth."""
    figure = case_figure(spotted(), *spot_sets((0.4, 0.9, -0.5)))
    expected = [(0.4, -0.9), (0.4, -0.5), (0.9, -0.5)]
    pixels(figure)
    for ax, (right, up) in zip(figure.axes, expected * 2, strict=True):
        truth, detection = (ax.transData.transform(marker(ax, kind)) for kind in ("o", "x"))
        mm = ax.get_window_extent().width / abs(np.diff(ax.get_xlim()).item())
        np.testing.assert_allclose((detection - truth) / mm, (right, up), atol=1e-9)


def test_a_millimetre_is_as_long_upwards_as_sideways_on_anisotropic_voxels() -> None:
    figure = case_figure(spotted(), *spot_sets((0, 0, 0)))
    pixels(figure)
    for ax in figure.axes:
        start, right, up = ax.transData.transform([(0, 0), (1, 0), (0, 1)])
        assert abs(right[0] - start[0]) == pytest.approx(abs(up[1] - start[1]), rel=1e-6)


def test_the_error_radius_is_drawn_true_to_scale_around_the_detection() -> None:
    truth, detections = spot_sets((0.4, 0.9, -0.5))
    figure = case_figure(spotted(), truth, detections)
    for ax in figure.axes[3:]:
        (circle,) = [line for line in ax.lines if line.get_linestyle() == ":"]
        points = np.asarray(circle.get_data(), dtype=float).T
        np.testing.assert_allclose(np.linalg.norm(points - marker(ax, "x"), axis=1), 0.6)


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_voxels_of_an_oblique_scan_are_drawn_where_they_are_stored(seed: int) -> None:
    generator = np.random.default_rng(seed)
    rotation, _ = np.linalg.qr(generator.normal(size=(3, 3)))
    frame = Frame(size=(6, 7, 8), origin=(3, -9, 2), spacing=(0.5, 1.0, 2.0), direction=rotation)
    index = generator.uniform(0, 5, 3)
    for view in views(frame):
        place = view.place(frame, frame.index_to_world(index))
        assert place == pytest.approx(tuple((index * frame.spacing)[[view.horizontal, view.vertical]]))
    assert {view.normal for view in views(frame)} == {0, 1, 2}


@pytest.mark.parametrize(
    ("direction", "label"),
    [
        ((1, 0, 0), "L"),
        ((-1, 0, 0), "R"),
        ((0, 1, 0), "P"),
        ((0, -2, 0), "A"),
        ((0, 0, 1), "S"),
        ((0, 0, -1), "I"),
        ((1, 0.1, 0.2), "L"),
        ((1, -0.5, 0), "LA"),
        ((-0.5, 0, -1), "IR"),
        ((0.6, 0.7, 0.5), "PLS"),
    ],
)
def test_directions_have_anatomical_names(direction: tuple[float, float, float], label: str) -> None:
    assert anatomical_label(np.array(direction, dtype=float)) == label


def test_opposite_sides_have_opposite_names() -> None:
    angle = math.radians(30)
    cosine, sine = math.cos(angle), math.sin(angle)
    turned = [[cosine, -sine, 0.0], [sine, cosine, 0.0], [0.0, 0.0, 1.0]]
    axial, coronal, _ = views(Frame(size=(5, 5, 5), direction=turned))
    assert sides(axial) == ("axial", "RA", "LP", "PR", "AL")
    assert sides(coronal) == ("coronal", "RA", "LP", "I", "S")


def graded() -> tuple[LandmarkSet, CaseDetections]:
    """Errors of 0.3, 0.1, 0.5, 0.2 and 0.4 mm for A to E, confidences likewise; F is absent in the truth."""
    errors = {"A": 0.3, "B": 0.1, "C": 0.5, "D": 0.2, "E": 0.4}
    centre = spotted().frame.centre
    truth = LandmarkSet([*errors, "F"], np.vstack([np.tile(centre, (5, 1)), np.full((1, 3), np.nan)]))
    detections = [
        Detection(name, centre + np.array((error, 0, 0)), "found", error) for name, error in errors.items()
    ]
    return truth, CaseDetections("case", (*detections, Detection.missing("F")))


def test_best_median_and_worst_landmark_are_shown_with_their_errors() -> None:
    assert titles(case_figure(spotted(), *graded())) == [
        "B · error 0.1 mm · found, confidence 0.10",
        "A · error 0.3 mm · found, confidence 0.30",
        "C · error 0.5 mm · found, confidence 0.50",
    ]


def test_a_missed_landmark_is_the_worst() -> None:
    truth, detections = graded()
    missed = CaseDetections("case", (*detections.detections[1:], Detection.missing("A", 0.2)))
    assert titles(case_figure(spotted(), truth, missed))[-1] == "A · missed · absent, confidence 0.20"


def test_without_a_truth_the_most_and_the_least_confident_are_shown() -> None:
    shown = titles(case_figure(spotted(), None, graded()[1]))
    assert [title[0] for title in shown] == ["C", "A", "B"]


def test_without_detections_the_truth_alone_is_shown() -> None:
    figure = case_figure(spotted(), graded()[0], None)
    assert titles(figure)[0] == "A · not detected"
    assert legend(figure) == ["truth"]


def test_a_scan_with_no_landmarks_at_all_is_shown_in_its_middle() -> None:
    figure = case_figure(spotted(), None, None)
    assert titles(figure) == ["no landmarks"]
    middle = spotted().voxels[4]
    np.testing.assert_array_equal(np.asarray(figure.axes[0].images[0].get_array()), middle)


def test_the_legend_names_what_is_drawn() -> None:
    assert legend(case_figure(spotted(), *graded())) == ["truth", "detection"]
    radius = "the detection's own error radius"
    assert legend(case_figure(spotted(), *spot_sets((1, 0, 0)))) == ["truth", "detection", radius]


def test_landmarks_can_be_chosen() -> None:
    shown = titles(case_figure(spotted(), *graded(), landmarks=["E", "F"]))
    assert shown == ["E · error 0.4 mm · found, confidence 0.40", "F · absent, confidence 0.00"]


@pytest.mark.parametrize(
    ("landmarks", "says"), [(["A", "Z"], "no landmark 'Z' to draw"), (["A"] * 7, "6 landmarks")]
)
def test_landmarks_that_cannot_be_drawn_are_refused(landmarks: list[str], says: str) -> None:
    with pytest.raises(InputError, match=says):
        case_figure(spotted(), *graded(), landmarks=landmarks)


def test_a_landmark_outside_the_scan_is_shown_on_the_nearest_slice(tmp_path: Path) -> None:
    outside = LandmarkSet(["out"], spotted().frame.index_to_world([[5, 5, 40]]))
    figure = case_figure(spotted(), outside, None)
    np.testing.assert_array_equal(np.asarray(figure.axes[0].images[0].get_array()), spotted().voxels[-1])


def test_the_picture_is_written_as_png_in_a_new_folder(tmp_path: Path) -> None:
    path = tmp_path / "new" / "case.png"
    draw_case(spotted(), *graded(), path)
    assert path.read_bytes().startswith(b"\x89PNG")
    assert list(path.parent.iterdir()) == [path]


def test_a_speck_of_metal_does_not_darken_the_picture() -> None:
    volume = spotted()
    volume.voxels[0, 0, 0] = 1e5
    low, high = case_figure(volume, None, None).axes[0].images[0].get_clim()
    assert 0 <= low < 5
    assert 40 < high <= 255


def test_air_around_the_anatomy_does_not_bleach_it() -> None:
    scan, (truth, detections) = spotted(), spot_sets((0, 0, 0))
    voxels = np.pad(scan.voxels, 40)
    corner = scan.frame.index_to_world((-40, -40, -40))
    frame = Frame(size=voxels.shape[::-1], origin=corner, spacing=scan.frame.spacing)
    limits = [
        case_figure(volume, truth, detections).axes[0].images[0].get_clim()
        for volume in (scan, Volume(voxels, frame))
    ]
    assert limits[0][1] == 255 and limits[1][1] > 40, "the noise is grey, not white"


def test_constant_scans_are_drawn(tmp_path: Path) -> None:
    volume = Volume(np.full((4, 5, 6), -1000, np.int16), Frame(size=(6, 5, 4)))
    draw_case(volume, None, None, tmp_path / "flat.png")


def test_landmarks_of_a_real_skull_are_drawn_on_bone(mouse_skulls: Path) -> None:
    volume, truth = read_volume(mouse_skulls / "A_J.nii.gz"), read_landmarks(mouse_skulls / "A_J.mrk.json")
    bright = []
    for name in truth.names:
        point = truth.positions_of([name])[0]
        for view in views(volume.frame):
            image, place = view.slice_through(volume, point), view.place(volume.frame, point)
            column, row = (
                np.rint(np.array(place) / volume.frame.spacing[[view.horizontal, view.vertical]])
            ).astype(int)
            bright.append(image[row - 1 : row + 2, column - 1 : column + 2].max())
    assert np.median(bright) > np.percentile(volume.voxels, 97)


def sides(view: View) -> tuple[str, str, str, str, str]:
    return view.name, view.left, view.right, view.bottom, view.top


def upright(view: View, volume: Volume, point: NDArray[np.float64]) -> NDArray[Any]:
    """The slice as it is seen, its lower left corner first."""
    image = view.slice_through(volume, point)
    return image[:: 1 if view.upwards else -1, :: 1 if view.rightwards else -1]


def from_lower_left(view: View, volume: Volume, point: NDArray[np.float64]) -> tuple[float, float]:
    """Where a point is seen: mm from the lower left corner of the picture."""
    first, last, low, high = view.edges(volume.frame)
    x, y = view.place(volume.frame, point)
    return (x - first if view.rightwards else last - x), (y - low if view.upwards else high - y)


def marker(ax: Axes, kind: str) -> NDArray[np.float64]:
    (line,) = [line for line in ax.lines if line.get_marker() == kind]
    return np.asarray(line.get_data(), dtype=float)[:, 0]


def titles(figure: Figure) -> list[str]:
    return [title for ax in figure.axes if (title := ax.get_title(loc="left"))]


def legend(figure: Figure) -> list[str]:
    return [text.get_text() for box in figure.legends for text in box.get_texts()]


def pixels(figure: Figure) -> NDArray[np.uint8]:
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())
