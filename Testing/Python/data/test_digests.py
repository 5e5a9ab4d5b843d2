"""Whether a scan is still the one that it was."""

import os
import sys
from pathlib import Path

import pytest

from LandmarkDetectionLib.data.digests import ScanIdentity, identify, is_same_scan, unchanged
from LandmarkDetectionLib.data.errors import InputError


@pytest.fixture
def a_header(tmp_path: Path) -> Path:
    """A header that names its voxels."""
    (tmp_path / "scan.raw").write_bytes(b"voxels")
    path = tmp_path / "scan.mhd"
    path.write_text("ElementDataFile = scan.raw\n")
    return path


def test_a_scan_whose_files_nobody_touched_is_not_read_again(a_header: Path) -> None:
    known = identify(a_header)
    assert is_same_scan(a_header, ScanIdentity(known.state, "not looked at"))


@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not tell when a file was changed last")
def test_a_scan_that_was_only_touched_is_the_same_and_one_of_the_same_size_and_time_is_not(
    a_header: Path,
) -> None:
    known, voxels = identify(a_header), a_header.with_name("scan.raw")
    before = voxels.stat()
    voxels.touch()
    assert is_same_scan(a_header, known)
    voxels.write_bytes(b"VOXELS")
    os.utime(voxels, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert not is_same_scan(a_header, known)


def test_a_scan_that_is_only_touched_while_it_is_in_use_is_unchanged(a_header: Path) -> None:
    with unchanged(a_header) as scan:
        a_header.with_name("scan.raw").touch()
    assert scan.content == identify(a_header).content


@pytest.mark.parametrize("removed", [False, True])
def test_a_scan_that_is_replaced_or_removed_while_it_is_in_use_is_told(a_header: Path, removed: bool) -> None:
    with pytest.raises(InputError, match=r"scan\.mhd: the scan was changed or removed"), unchanged(a_header):
        if removed:
            a_header.unlink()
        else:
            a_header.with_name("scan.raw").write_bytes(b"VOXELS")


def test_a_scan_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no such file"), unchanged(tmp_path / "scan.nii"):
        pass
