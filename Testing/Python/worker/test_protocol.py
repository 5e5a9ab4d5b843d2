"""Messages and the shared scan."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from LandmarkDetectionLib.data.frame import Frame
from LandmarkDetectionLib.data.volume import Volume
from LandmarkDetectionLib.detection.results import Detection
from LandmarkDetectionLib.worker.protocol import (
    Cancel,
    Detect,
    Event,
    Failure,
    Notice,
    Progress,
    Ready,
    Request,
    Result,
    decode,
    encode,
)
from LandmarkDetectionLib.worker.shared_volume import PIECE_BYTES, SharedVolume, write_in_pieces

TEXTS = st.text(max_size=40)
NUMBERS = st.integers(0, 2**31)
FRACTIONS = st.floats(0, 1)
FRAME = Frame(
    size=(3, 4, 5), spacing=(0.1, 0.2, 0.3), origin=(1e-3, -7, 1 / 3), direction=np.eye(3)[[1, 0, 2]]
)
MESSAGES = st.one_of(
    st.builds(Detect, NUMBERS, st.just(Path("models/Schädel")), TEXTS, st.just(Path("scan 1.nii.gz"))),
    st.builds(Cancel, NUMBERS),
    st.builds(Ready, st.lists(st.tuples(TEXTS, TEXTS)).map(tuple)),
    st.builds(Progress, NUMBERS, TEXTS, FRACTIONS, st.none() | st.floats(0, 1e6)),
    st.builds(Notice, NUMBERS, TEXTS),
    st.builds(Failure, NUMBERS, st.sampled_from(["model", "cancelled"]), TEXTS, TEXTS),
)


@given(MESSAGES)
def test_a_message_comes_through_on_one_line(message: Request | Event) -> None:
    line = encode(message)
    assert line.index("\n") == len(line) - 1
    assert decode(line) == message


def test_a_request_for_a_shared_scan_comes_through_to_the_last_digit() -> None:
    sent = Detect(7, Path("m"), "auto", SharedVolume(Path("v.npy"), FRAME))
    received = decode(encode(sent))
    assert received == sent


@given(st.lists(FRACTIONS, min_size=3, max_size=3), FRACTIONS, st.floats(0, 99) | st.just(float("nan")))
def test_detections_come_through(point: list[float], confidence: float, radius: float) -> None:
    sent = (
        Detection("Nasion", np.array(point), "uncertain", confidence, radius),
        Detection.missing("Bregma", confidence),
    )
    line = encode(Result(3, sent, 1.5, "cpu"))
    assert json.loads(line)["detections"][1]["position"] is None, "absent is no magic number"
    received = decode(line)
    assert isinstance(received, Result)
    for one, other in zip(sent, received.detections, strict=True):
        assert (one.name, one.status, one.confidence) == (other.name, other.status, other.confidence)
        np.testing.assert_array_equal(one.position, other.position)
        np.testing.assert_array_equal(one.radius_mm, other.radius_mm)


@pytest.mark.parametrize("line", ["", "{", "[1]", '{"message": "Detect"}', '{"message": "x"}', "{}", "7"])
def test_what_is_no_message_is_refused(line: str) -> None:
    with pytest.raises(ValueError, match="not a message"):
        decode(line)


@pytest.mark.parametrize("dtype", ["int16", "uint8", "float32"])
def test_a_shared_scan_is_the_scan(tmp_path: Path, dtype: str) -> None:
    frame = Frame(size=(300, 310, 200))
    voxels = np.random.default_rng(0).integers(0, 200, frame.shape).astype(dtype)
    fractions = list(write_in_pieces(voxels, tmp_path / "v.npy"))
    assert len(fractions) == pytest.approx(voxels.nbytes / PIECE_BYTES, abs=1.1)
    assert fractions == sorted(fractions) and fractions[-1] == 1
    volume = SharedVolume(tmp_path / "v.npy", frame).open()
    assert isinstance(volume, Volume) and volume.voxels.dtype == dtype
    np.testing.assert_array_equal(volume.voxels, voxels)
