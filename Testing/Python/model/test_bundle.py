"""The bundle: what is written is read, and anything else is refused in one sentence."""

import json
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from LandmarkDetectionLib.data.errors import InputError
from LandmarkDetectionLib.data.intensity import Normaliser
from LandmarkDetectionLib.data.preparation import Preparation
from LandmarkDetectionLib.data.shape_model import ShapeModel
from LandmarkDetectionLib.data.table import Landmark, LandmarkTable
from LandmarkDetectionLib.model.bundle import (
    VERSION,
    Bundle,
    Calibration,
    Level,
    load_bundle,
    load_weights,
    pack_bundle,
    save_bundle,
    unpack_bundle,
)

WEIGHTS = {"layer.weight": torch.arange(6.0).reshape(2, 3), "layer.bias": torch.tensor([1.0, -2.0])}


@pytest.fixture
def a_bundle() -> Bundle:
    table = LandmarkTable(
        (
            Landmark("links", 1, "rechts", "Auge", "linker Rand"),
            Landmark("rechts", 2, "links"),
            Landmark("Kinn é", 7),
        )
    )
    return Bundle(
        name="kopf",
        engine="dense",
        table=table,
        preparation=Preparation(0.2, Normaliser("adaptive", 0.5, 99.5)),
        network={"channels": [8, 8, 8]},
        detection={"window": [16, 16, 16]},
        shape=ShapeModel(
            mean=np.array([[1.0, 2.0, 3.0], [np.nan] * 3, [-1.0, 0.0, 0.5]]),
            modes=np.arange(18.0).reshape(2, 3, 3),
            deviations=np.array([0.2, np.nan, 0.3]),
        ),
        calibration=Calibration(
            0.9, (Level(1, 40, 0.31, {"links": 0.2}, presence=(1.2, -0.3)), Level(4, 40, 0.9, {}))
        ),
        training_data={"fingerprint": "abc"},
        metrics={"validation": {"val_mre_mm": 0.2}},
        licence="CC0-1.0",
        intended_use="tests",
        software="LandmarkDetection test",
    )


@pytest.fixture
def a_folder(a_bundle: Bundle, tmp_path: Path) -> Path:
    folder = tmp_path / "Ein Modell mit Leerzeichen é"
    save_bundle(a_bundle, WEIGHTS, folder)
    return folder


def change(folder: Path, edit: Callable[[dict[str, Any]], None]) -> None:
    path = folder / "model.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    edit(content)
    path.write_text(json.dumps(content), encoding="utf-8")


def refusal(action: Callable[[], object]) -> str:
    with pytest.raises(InputError) as caught:
        action()
    sentence = str(caught.value)
    assert "\n" not in sentence and sentence.endswith(".")
    return sentence


def test_what_is_written_is_read(a_bundle: Bundle, a_folder: Path) -> None:
    read = load_bundle(a_folder)
    for part in ("mean", "modes", "deviations"):
        np.testing.assert_array_equal(getattr(read.shape, part), getattr(a_bundle.shape, part))
    assert replace(read, shape=a_bundle.shape).__dict__ == a_bundle.__dict__
    weights = load_weights(a_folder)
    assert set(weights) == set(WEIGHTS)
    assert all(torch.equal(weights[name], WEIGHTS[name]) for name in WEIGHTS)


def test_the_folder_holds_json_and_safetensors_only(a_folder: Path) -> None:
    assert sorted(path.name for path in a_folder.iterdir()) == ["model.json", "weights.safetensors"]


def test_another_version_is_refused_with_both_versions(a_folder: Path) -> None:
    change(a_folder, lambda content: content.update(version=99))
    sentence = refusal(lambda: load_bundle(a_folder))
    assert "99" in sentence and "model.json" in sentence and f"version {VERSION}" in sentence


@pytest.mark.parametrize(
    "field",
    ["landmarks", "network", "detection", "mean_shape", "shape_modes", "calibration", "training_data"],
)
def test_a_missing_field_is_named(a_folder: Path, field: str) -> None:
    change(a_folder, lambda content: content.pop(field))
    sentence = refusal(lambda: load_bundle(a_folder))
    assert f"'{field}'" in sentence and "model.json" in sentence


def test_a_wrong_field_is_refused(a_folder: Path) -> None:
    change(a_folder, lambda content: content["preparation"].update(spacing=-1))
    assert "spacing -1" in refusal(lambda: load_bundle(a_folder))
    change(a_folder, lambda content: content["preparation"].update(spacing=1))
    change(a_folder, lambda content: content["mean_shape"].pop())
    assert "mean_shape" in refusal(lambda: load_bundle(a_folder))


def test_missing_weights_are_refused(a_folder: Path) -> None:
    (a_folder / "weights.safetensors").unlink()
    assert "weights.safetensors" in refusal(lambda: load_weights(a_folder))


def test_one_flipped_bit_in_the_weights_is_noticed(a_folder: Path) -> None:
    path = a_folder / "weights.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))
    assert "damaged" in refusal(lambda: load_weights(a_folder))


def test_a_folder_that_is_no_bundle_is_refused(tmp_path: Path) -> None:
    assert "model.json is missing" in refusal(lambda: load_bundle(tmp_path))
    (tmp_path / "model.json").write_text("{cut")
    assert "not valid JSON" in refusal(lambda: load_bundle(tmp_path))
    (tmp_path / "model.json").write_text('{"format": "something else"}')
    assert "'format'" in refusal(lambda: load_bundle(tmp_path))


def test_a_file_in_place_of_a_model_is_told_what_to_give(a_folder: Path, tmp_path: Path) -> None:
    pack_bundle(a_folder, tmp_path / "kopf.zip")
    sentence = refusal(lambda: load_bundle(tmp_path / "kopf.zip"))
    assert "kopf.zip: this is packed; unpack it and give the folder of the model in it" in sentence
    for file in (a_folder / "model.json", a_folder / "weights.safetensors"):
        assert f"{file}: this is one file of a model; give its folder, {a_folder}." == refusal(
            partial(load_bundle, file)
        )
    (tmp_path / "config.yaml").write_text("a: 1")
    assert "config.yaml: this is a file; give the folder" in refusal(
        lambda: load_bundle(tmp_path / "config.yaml")
    )


def test_radii_are_per_landmark_where_there_is_one(a_bundle: Bundle) -> None:
    assert a_bundle.calibration is not None
    assert a_bundle.calibration.radius_of("links", 0.5) == 0.2
    assert a_bundle.calibration.radius_of("rechts", 0.5) == 0.31


def test_in_coarser_scans_a_radius_grows_until_nobody_knows() -> None:
    calibration = Calibration(0.9, (Level(1, 40, 0.3, {"apex": 0.1}), Level(4, 40, 0.9, {"apex": 0.05})))
    radii = [calibration.radius_of("base", resolution) for resolution in (0.5, 1.0, 2.0, 4.0, 4.3)]
    np.testing.assert_allclose(radii, [0.3, 0.3, 0.6, 0.9, 0.9])
    assert calibration.radius_of("apex", 4.0) == 0.1, "never smaller than in a finer scan"
    assert np.isnan(calibration.radius_of("base", 4.5))


def test_presence_goes_over_from_one_resolution_to_the_next() -> None:
    levels = (
        Level(1, 40, 0.3, {}, presence=(0.6, 0.4)),
        Level(2, 40, 0.5, {}),
        Level(4, 40, 0.9, {}, presence=(0.4, 2)),
    )
    seen = [Calibration(0.9, levels).presence_at(resolution) for resolution in (0.5, 1, 2, 4, 9)]
    np.testing.assert_allclose(np.array(seen), [(0.6, 0.4), (0.6, 0.4), (0.5, 1.2), (0.4, 2), (0.4, 2)])
    assert Calibration(0.9, levels[1:]).presence_at(1) is None, "a coarser level says nothing of finer scans"


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda calibration: calibration.update(levels=[]), "one resolution or several"),
        (lambda calibration: calibration["levels"].reverse(), "the finest first"),
        (lambda calibration: calibration["levels"][0].update(resolution=0), "resolution 0.0"),
        (lambda calibration: calibration["levels"][0].update(resolution=None), "a field is wrong"),
        (lambda calibration: calibration["levels"][1].update(pooled_mm="wide"), "'wide'"),
        (lambda calibration: calibration["levels"][1].pop("pooled_per_spread"), "'pooled_per_spread'"),
        (lambda calibration: calibration["levels"][0]["landmarks_mm"].update(links=-1), "not a length"),
        (lambda calibration: calibration["levels"][0].update(landmarks_mm=None), "a field is wrong"),
        (lambda calibration: calibration["levels"][0].update(presence=[1.0]), "a field is wrong"),
        (lambda calibration: calibration.clear(), "'coverage'"),
    ],
)
def test_a_damaged_calibration_is_refused(
    a_folder: Path, spoil: Callable[[dict[str, Any]], None], said: str
) -> None:
    change(a_folder, lambda content: spoil(content["calibration"]))
    sentence = refusal(lambda: load_bundle(a_folder))
    assert said in sentence and "model.json" in sentence


def test_a_packed_bundle_unpacks_to_the_same(a_folder: Path, tmp_path: Path) -> None:
    pack_bundle(a_folder, tmp_path / "kopf.zip")
    assert unpack_bundle(tmp_path / "kopf.zip", tmp_path / "models") == tmp_path / "models" / "kopf"
    for name in ("model.json", "weights.safetensors"):
        assert (tmp_path / "models" / "kopf" / name).read_bytes() == (a_folder / name).read_bytes()
    assert [path.name for path in (tmp_path / "models").iterdir()] == ["kopf"]
    with pytest.raises(InputError, match="there is a model 'kopf'"):
        unpack_bundle(tmp_path / "kopf.zip", tmp_path / "models")


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, "cannot be unpacked"),
        ({}, "not one model.json in it"),
        ({"model.json": b"{}", "weights.safetensors": b""}, "the field 'format'"),
        ({"a/model.json": b"{}", "b/model.json": b"{}"}, "not one model.json in it"),
        ({"model.json": bytes(10_000_000), "weights.safetensors": b""}, "would become too large"),
        ({"model.json": b"[" * 100_000, "weights.safetensors": b""}, "would become too large|not valid JSON"),
    ],
)
def test_what_is_no_packed_bundle_is_refused_and_leaves_nothing(
    content: dict[str, bytes] | None, sentence: str, tmp_path: Path
) -> None:
    archive = tmp_path / "some.zip"
    if content is None:
        archive.write_bytes(b"no archive at all")
    else:
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
            for name, text in content.items():
                packed.writestr(name, text)
    with pytest.raises(InputError, match=sentence):
        unpack_bundle(archive, tmp_path / "models")
    assert list((tmp_path / "models").iterdir()) == []


def test_a_packed_bundle_cannot_write_outside_the_folder_of_models(a_folder: Path, tmp_path: Path) -> None:
    description = json.loads((a_folder / "model.json").read_text(encoding="utf-8")) | {"name": "../out"}
    with zipfile.ZipFile(tmp_path / "out.zip", "w") as packed:
        packed.writestr("model.json", json.dumps(description))
        packed.write(a_folder / "weights.safetensors", "weights.safetensors")
    with pytest.raises(InputError, match=r"name '\.\./out' cannot name a folder"):
        unpack_bundle(tmp_path / "out.zip", tmp_path / "models")
    assert not (tmp_path / "out").exists()


def test_a_bundle_is_described_where_there_is_no_torch(a_folder: Path) -> None:
    code = f"""
import sys
from pathlib import Path
sys.modules["torch"] = None  # importing it raises ImportError
from LandmarkDetectionLib.model.bundle import load_bundle
print(load_bundle(Path({str(a_folder)!r})).name)
"""
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == "kopf"
