"""The cache: prepared once, never stale, shared by processes, and carried to other machines."""

import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from LandmarkDetectionLib.data.cases import Case, read_split, write_split
from LandmarkDetectionLib.data.digests import content_digest
from LandmarkDetectionLib.data.errors import InputError
from LandmarkDetectionLib.data.frame import Frame
from LandmarkDetectionLib.data.intensity import Normaliser
from LandmarkDetectionLib.data.landmark_files import write_landmarks
from LandmarkDetectionLib.data.landmarks import LandmarkSet
from LandmarkDetectionLib.data.masks import draw_mask
from LandmarkDetectionLib.data.preparation import Preparation
from LandmarkDetectionLib.data.table import Landmark, LandmarkTable, write_table
from LandmarkDetectionLib.data.volume import Volume, read_volume, write_volume
from LandmarkDetectionLib.training.cases.cache import (
    PreparedCase,
    digest_of,
    prepare_split,
    table_of,
)

ROOT = Path(__file__).parents[3]
TABLE = LandmarkTable.from_names(["nose", "chin", "ear"])
PREPARATION = Preparation(1.5, Normaliser("fixed", -1000, 1000))


class Watch:
    """Counts the cases that had to be looked at."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def __call__(self, cases: list[Case]) -> Iterator[Case]:
        for case in cases:
            self.seen.append(case.name)
            yield case


def write_scan(path: Path, seed: int) -> Volume:
    rng = np.random.default_rng(seed)
    frame = Frame(size=(14, 12, 10), spacing=(1, 1.25, 2), origin=rng.uniform(-50, 50, 3))
    volume = Volume(rng.integers(-1200, 1200, frame.shape).astype(np.int16), frame)
    write_volume(volume, path)
    return volume


def write_case(folder: Path, number: int, seed: int) -> Case:
    volume = write_scan(folder / "images" / f"case {number}.nii.gz", seed)
    points = volume.frame.index_to_world(np.random.default_rng(seed).uniform(3, 9, (3, 3)))
    points[2] = np.nan if number % 2 else points[2]
    landmarks = folder / "landmarks" / f"case {number}.mrk.json"
    write_landmarks(LandmarkSet(TABLE.names, points), landmarks)
    return Case(
        f"case {number}", folder / "images" / f"case {number}.nii.gz", landmarks, group=f"family {number}"
    )


def write_data(folder: Path, seed: int = 0) -> Path:
    split = folder / "train.csv"
    write_split([write_case(folder, number, 10 * seed + number) for number in range(3)], split)
    return split


@pytest.fixture
def split(tmp_path: Path) -> Path:
    return write_data(tmp_path / "data")


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def touched(path: Path) -> None:
    """Give a file another time even where the clock of the disk is coarse."""
    stat = path.stat()
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1_000_000_000))


def positions(split: Sequence[PreparedCase]) -> NDArray[np.float64]:
    return np.stack([case.positions for case in split])


def test_a_prepared_case_is_the_scan_on_its_grid_in_half_precision(split: Path, cache: Path) -> None:
    prepared = prepare_split(split, TABLE, PREPARATION, cache)
    for case, source in zip(prepared, read_split(split, supervised=True), strict=True):
        expected = PREPARATION(read_volume(source.image_path))
        volume = case.volume()
        assert isinstance(volume.voxels, np.memmap)
        assert volume.voxels.dtype == np.float16
        assert not volume.voxels.flags.writeable
        np.testing.assert_allclose(volume.voxels, expected.voxels, atol=1e-3)
        assert volume.frame == expected.frame
        np.testing.assert_array_equal(case.scanned, read_volume(source.image_path).frame.spacing)
        assert (case.name, case.group) == (source.name, source.group)
        assert case.lowest == volume.voxels.min()
    assert np.isnan(positions(prepared)[1, 2]).all()
    assert np.isfinite(positions(prepared)[0]).all()


def test_the_second_time_nothing_is_read(split: Path, cache: Path) -> None:
    watch = Watch()
    first = prepare_split(split, TABLE, PREPARATION, cache, progress=watch)
    second = prepare_split(split, TABLE, PREPARATION, cache, progress=watch)
    assert sorted(watch.seen) == ["case 0", "case 1", "case 2"]
    assert digest_of(second) == digest_of(first)
    np.testing.assert_array_equal(positions(second), positions(first))
    assert [case.voxels_path for case in second] == [case.voxels_path for case in first]


def test_images_that_are_gone_are_not_missed(split: Path, cache: Path) -> None:
    first = prepare_split(split, TABLE, PREPARATION, cache)
    shutil.rmtree(split.parent / "images")
    shutil.rmtree(split.parent / "landmarks")
    assert digest_of(prepare_split(split, TABLE, PREPARATION, cache)) == digest_of(first)


def test_a_changed_image_is_prepared_again_and_the_others_are_not(split: Path, cache: Path) -> None:
    first = prepare_split(split, TABLE, PREPARATION, cache)
    changed = write_scan(split.parent / "images" / "case 1.nii.gz", seed=99)
    touched(split.parent / "images" / "case 1.nii.gz")
    written = {path: path.stat().st_mtime_ns for path in cache.glob("*.npy")}
    second = prepare_split(split, TABLE, PREPARATION, cache)
    np.testing.assert_allclose(second[1].volume().voxels, PREPARATION(changed).voxels, atol=1e-3)
    assert digest_of(second) != digest_of(first)
    assert [a.voxels_path == b.voxels_path for a, b in zip(first, second, strict=True)] == [
        True,
        False,
        True,
    ]
    assert all(path.stat().st_mtime_ns == time for path, time in written.items())


def test_a_landmark_beyond_the_scan_is_absent_from_it(split: Path, cache: Path) -> None:
    case = read_split(split, supervised=True)[0]
    assert case.landmark_path is not None
    points = read_volume(case.image_path).frame.index_to_world(
        np.array([[5.0, 5, 5], [200, 5, 5], [4, 5, 6]])
    )
    write_landmarks(LandmarkSet(TABLE.names, points), case.landmark_path)
    prepared = prepare_split(split, TABLE, PREPARATION, cache)[0]
    assert np.isnan(prepared.positions).any(axis=1).tolist() == [False, True, False]
    assert prepared.known.all()


def test_moved_landmarks_are_taken_and_no_scan_is_prepared_again(split: Path, cache: Path) -> None:
    first = prepare_split(split, TABLE, PREPARATION, cache)
    moved = positions(first)[0] + [0.2, 0.3, -0.1]
    path = split.parent / "landmarks" / "case 0.mrk.json"
    write_landmarks(LandmarkSet(TABLE.names, moved), path)
    touched(path)
    written = {path: path.stat().st_mtime_ns for path in cache.glob("*.npy")}
    second = prepare_split(split, TABLE, PREPARATION, cache)
    np.testing.assert_allclose(positions(second)[0], moved, atol=1e-6)
    assert digest_of(second) != digest_of(first)
    assert {path: path.stat().st_mtime_ns for path in cache.glob("*.npy")} == written


def test_a_file_that_was_only_touched_changes_nothing(split: Path, cache: Path) -> None:
    first = prepare_split(split, TABLE, PREPARATION, cache)
    touched(split.parent / "images" / "case 0.nii.gz")
    watch = Watch()
    assert digest_of(prepare_split(split, TABLE, PREPARATION, cache, progress=watch)) == digest_of(first)
    assert watch.seen, "its content was looked at again"
    watch.seen.clear()
    prepare_split(split, TABLE, PREPARATION, cache, progress=watch)
    assert not watch.seen


@pytest.mark.parametrize(
    "other",
    [
        replace(PREPARATION, spacing=1.6),
        replace(PREPARATION, normaliser=Normaliser("fixed", -1000, 999)),
        replace(PREPARATION, normaliser=Normaliser("adaptive", 1, 99)),
    ],
)
def test_another_plan_has_its_own_scans(split: Path, cache: Path, other: Preparation) -> None:
    first = prepare_split(split, TABLE, PREPARATION, cache)
    second = prepare_split(split, TABLE, other, cache)
    assert not {case.voxels_path for case in first} & {case.voxels_path for case in second}
    again = prepare_split(split, TABLE, PREPARATION, cache)
    assert [case.voxels_path for case in again] == [case.voxels_path for case in first]


def test_the_same_image_under_two_names_is_kept_once(split: Path, cache: Path) -> None:
    cases = read_split(split, supervised=True)
    copy = shutil.copy(cases[0].image_path, split.parent / "images" / "copy.nii.gz")
    write_split([*cases, replace(cases[0], name="copy", image_path=Path(copy))], split)
    prepared = prepare_split(split, TABLE, PREPARATION, cache)
    assert prepared[3].voxels_path == prepared[0].voxels_path
    assert len(list(cache.glob("*.npy"))) == 3


def test_another_order_of_the_landmarks_is_another_order_of_the_positions(split: Path, cache: Path) -> None:
    first = positions(prepare_split(split, TABLE, PREPARATION, cache))
    reversed_table = LandmarkTable.from_names(TABLE.names[::-1])
    second = positions(prepare_split(split, reversed_table, PREPARATION, cache))
    np.testing.assert_array_equal(second, first[:, ::-1])


def test_two_data_sets_with_the_same_split_do_not_mix(tmp_path: Path, cache: Path) -> None:
    one, other = write_data(tmp_path / "one", seed=1), write_data(tmp_path / "other", seed=2)
    assert one.read_bytes() == other.read_bytes()
    first = prepare_split(one, TABLE, PREPARATION, cache)
    second = prepare_split(other, TABLE, PREPARATION, cache)
    assert digest_of(first) != digest_of(second)
    assert not np.allclose(positions(first)[:, 0], positions(second)[:, 0])
    np.testing.assert_array_equal(positions(prepare_split(one, TABLE, PREPARATION, cache)), positions(first))


def test_masks_will_do_where_there_are_no_landmark_files(split: Path, cache: Path) -> None:
    cases = read_split(split, supervised=True)
    expected = prepare_split(split, TABLE, PREPARATION, cache)
    masked = []
    for case, known in zip(cases, expected, strict=True):
        frame = known.frame.with_spacing(0.5)
        mask = draw_mask(frame, known.positions, TABLE.labels, positive=2.0, negative=3.0)
        path = split.parent / "masks" / f"{case.name}.nii.gz"
        write_volume(Volume(mask, frame), path)
        masked.append(replace(case, landmark_path=None, mask_path=path))
    write_table(TABLE, split.parent / "masks" / "landmarks.csv")
    write_split(masked, split)
    prepared = prepare_split(split, TABLE, PREPARATION, cache)
    np.testing.assert_allclose(positions(prepared), positions(expected), atol=0.1)
    corrected = LandmarkTable((Landmark("nose", 1), Landmark("chin", 3), Landmark("ear", 4)))
    with pytest.raises(InputError, match="the mask holds 2"):
        prepare_split(split, corrected, PREPARATION, cache)


def prepare_in_a_process(split: Path, cache: Path, start: float) -> str:
    time.sleep(max(start - time.time(), 0))
    return digest_of(prepare_split(split, TABLE, PREPARATION, cache))


def test_processes_that_prepare_at_the_same_time_agree(split: Path, cache: Path) -> None:
    with multiprocessing.get_context("fork").Pool(3) as pool:
        start = time.time() + 0.3
        digests = pool.starmap(prepare_in_a_process, [(split, cache, start)] * 3, chunksize=1)
    assert len(set(digests)) == 1
    prepared = prepare_split(split, TABLE, PREPARATION, cache)
    assert digest_of(prepared) == digests[0]
    for case, source in zip(prepared, read_split(split, supervised=True), strict=True):
        expected = PREPARATION(read_volume(source.image_path)).voxels
        np.testing.assert_allclose(case.volume().voxels, expected, atol=1e-3)
    assert not list(cache.glob(".writing-*"))


def test_what_another_process_has_prepared_meanwhile_is_not_replaced(split: Path, cache: Path) -> None:
    """On a network disk, a process that trains already would lose the file."""
    files: dict[Path, int] = {}

    class Overtaken(Preparation):
        def __call__(self, volume: Volume) -> Volume:
            with multiprocessing.get_context("fork").Pool(1) as pool:
                pool.apply(prepare_in_a_process, (split, cache, 0.0))
            files.update({path: path.stat().st_ino for path in cache.glob("*.npy")})
            return super().__call__(volume)

    prepare_split(split, TABLE, Overtaken(PREPARATION.spacing, PREPARATION.normaliser), cache)
    assert len(files) == 3
    assert {path: path.stat().st_ino for path in cache.glob("*.npy")} == files


def carry(split: Path, cache: Path, server: Path) -> tuple[Path, Path]:
    """Copy only the split and the cache to another machine; the old one is out of reach there."""
    server.mkdir()
    carried = Path(shutil.copy(split, server / "train.csv")), Path(shutil.copytree(cache, server / "cache"))
    shutil.rmtree(split.parent)
    shutil.rmtree(cache)
    return carried


def test_the_split_and_the_cache_are_enough_on_another_machine(
    split: Path, cache: Path, tmp_path: Path
) -> None:
    first = prepare_split(split, TABLE, PREPARATION, cache)
    voxels = [np.array(case.volume().voxels) for case in first]
    second = prepare_split(*at_server(split, cache, tmp_path))
    assert digest_of(second) == digest_of(first)
    for case, expected in zip(second, voxels, strict=True):
        np.testing.assert_array_equal(case.volume().voxels, expected)
        assert case.voxels_path.is_relative_to(tmp_path / "server")


def at_server(split: Path, cache: Path, tmp_path: Path) -> tuple[Path, LandmarkTable, Preparation, Path]:
    there, cache_there = carry(split, cache, tmp_path / "server")
    return there, TABLE, PREPARATION, cache_there


def test_a_scan_cut_short_on_its_way_is_not_used(split: Path, cache: Path, tmp_path: Path) -> None:
    first = prepare_split(split, TABLE, PREPARATION, cache)
    whole = first[0].voxels_path
    whole.write_bytes(whole.read_bytes()[:-100])
    again = prepare_split(split, TABLE, PREPARATION, cache)
    assert digest_of(again) == digest_of(first)
    assert again[0].volume().voxels.shape == again[0].frame.shape
    whole.write_bytes(whole.read_bytes()[:-100])
    there, cache_there = carry(split, cache, tmp_path / "server")
    with pytest.raises(InputError, match="no such file"):
        prepare_split(there, TABLE, PREPARATION, cache_there)


def test_a_frame_that_is_damaged_is_made_again(split: Path, cache: Path) -> None:
    first = prepare_split(split, TABLE, PREPARATION, cache)
    path = min(cache.glob("*.frame.json"))
    whole = path.read_text()
    without = {name: value for name, value in json.loads(whole).items() if name != "lowest"}
    for damaged in (whole[:-5], json.dumps(json.loads(whole)["frame"]), json.dumps(without)):
        path.write_text(damaged)
        assert digest_of(prepare_split(split, TABLE, PREPARATION, cache)) == digest_of(first)
        assert path.read_text() == whole


def test_simpleitk_is_not_needed_where_the_cache_has_been_carried(
    split: Path, cache: Path, tmp_path: Path
) -> None:
    prepare_split(split, TABLE, PREPARATION, cache)
    there, cache_there = carry(split, cache, tmp_path / "server")
    program = """
import sys
sys.modules["SimpleITK"] = None
from pathlib import Path
from LandmarkDetectionLib.data.intensity import Normaliser
from LandmarkDetectionLib.data.preparation import Preparation
from LandmarkDetectionLib.data.table import LandmarkTable
from LandmarkDetectionLib.training.cases.cache import prepare_split
from LandmarkDetectionLib.training.cases.coarser import coarser_looks
from LandmarkDetectionLib.training.config import read_config
from LandmarkDetectionLib.training.running.loop import train
table = LandmarkTable.from_names(["nose", "chin", "ear"])
preparation = Preparation(1.5, Normaliser("fixed", -1000, 1000))
split = prepare_split(Path(sys.argv[1]), table, preparation, Path(sys.argv[2]))
scan = split[0].whole_volume()
print(len(split), [coarseness for coarseness, _ in coarser_looks([scan], scan, preparation.normaliser)])
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(there), str(cache_there)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "3 [2, 4]\n"


def test_a_cache_that_was_deleted_is_made_again(split: Path, cache: Path) -> None:
    first = prepare_split(split, TABLE, PREPARATION, cache)
    for path in (first[0].voxels_path, next(cache.glob("*.frame.json"))):
        path.unlink()
        assert digest_of(prepare_split(split, TABLE, PREPARATION, cache)) == digest_of(first)
    shutil.rmtree(cache)
    assert digest_of(prepare_split(split, TABLE, PREPARATION, cache)) == digest_of(first)


def test_a_missing_split_or_image_is_said(split: Path, cache: Path) -> None:
    with pytest.raises(InputError, match="no such list of cases"):
        prepare_split(split.with_name("other.csv"), TABLE, PREPARATION, cache)
    (split.parent / "images" / "case 2.nii.gz").unlink()
    with pytest.raises(InputError, match="line 4"):
        prepare_split(split, TABLE, PREPARATION, cache)


def test_a_folder_counts_by_all_its_files(tmp_path: Path) -> None:
    folder = tmp_path / "series"
    folder.mkdir()
    (folder / "1.dcm").write_bytes(b"one")
    (folder / "2.dcm").write_bytes(b"two")
    first = content_digest(folder)
    (folder / "1.dcm").write_bytes(b"other")
    changed = content_digest(folder)
    (folder / "1.dcm").write_bytes(b"one")
    assert changed != first == content_digest(folder)
    assert content_digest(folder / "1.dcm") != first


@pytest.mark.parametrize(
    ("name", "header"),
    [
        ("scan.mhd", "NDims = 3\nElementDataFile = voxels.raw\n"),
        ("scan.nhdr", "NRRD0004\ndata file: voxels.raw\n"),
        ("scan.nhdr", "NRRD0004\ndata file: s%02d.raw 1 3 2\n"),
        ("scan.mhd", "ElementDataFile = s%02d.raw 1 3 1\n"),
        ("scan.mhd", "ElementDataFile = LIST\ns01.raw\ns03.raw\n"),
    ],
)
def test_a_header_counts_with_its_voxels(tmp_path: Path, name: str, header: str) -> None:
    (tmp_path / name).write_text(header)
    for slices in ("voxels.raw", "s01.raw", "s03.raw"):
        (tmp_path / slices).write_bytes(b"one")
    first = content_digest(tmp_path / name)
    for slices in ("voxels.raw", "s03.raw"):
        (tmp_path / slices).write_bytes(b"two")
    assert content_digest(tmp_path / name) != first


def test_what_an_annotation_does_not_speak_of_is_unknown(split: Path, cache: Path) -> None:
    path = split.parent / "landmarks" / "case 0.mrk.json"
    write_landmarks(LandmarkSet(["ear", "nose"], np.array([[np.nan] * 3, [1.0, 2, 3]])), path)
    known = {case.name: case.known.tolist() for case in prepare_split(split, TABLE, PREPARATION, cache)}
    assert known["case 0"] == [True, False, True], "absent is known"
    assert known["case 1"] == [True, True, True]


def test_the_table_is_the_one_that_is_given(split: Path, cache: Path) -> None:
    given = LandmarkTable((Landmark("nose", 1), Landmark("chin", 2), Landmark("ear", 3, group="side")))
    write_table(given, split.parent / "mine.csv")
    assert table_of(split, split.parent / "mine.csv", cache) == given
    table_of(split, None, cache)
    with pytest.raises(InputError, match="no such landmark table"):
        table_of(split, split.parent / "gone.csv", cache)


def test_the_table_of_the_cases_travels_with_the_cache(split: Path, cache: Path, tmp_path: Path) -> None:
    first = table_of(split, None, cache)
    assert first.names == ("chin", "ear", "nose")
    there, cache_there = carry(split, cache, tmp_path / "server")
    assert table_of(there, None, cache_there) == first
    with pytest.raises(InputError, match="no such file"):
        table_of(there, None, tmp_path / "empty")
    with pytest.raises(InputError, match="no such list of cases"):
        table_of(there.with_name("other.csv"), None, cache_there)


def test_the_index_is_readable(split: Path, cache: Path) -> None:
    prepared = prepare_split(split, TABLE, PREPARATION, cache)
    indices = [path for path in cache.glob("*.json") if not path.name.endswith(".frame.json")]
    assert len(indices) == 1
    rows = json.loads(indices[0].read_text(encoding="utf-8"))
    assert [row["name"] for row in rows] == [case.name for case in prepared]
