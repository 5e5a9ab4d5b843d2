"""Networks as ONNX files: what is in them, and that it is the network."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from LandmarkDetectionLib.data.errors import InputError
from LandmarkDetectionLib.detection.detector import DenseDetector, load_detector
from LandmarkDetectionLib.detection.locate_refine import LocateRefineDetector
from LandmarkDetectionLib.exchange import onnx_export
from LandmarkDetectionLib.exchange.onnx_export import GRAPHS, export_onnx
from LandmarkDetectionLib.model.queries import cut_windows
from train_cli.app import main

CPU = torch.device("cpu")
SOME, OTHERS = (16, 24, 12), (8, 20, 32)


def session_of(path: Path) -> Any:
    onnxruntime = pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def an_image(shape: tuple[int, ...], count: int = 1) -> NDArray[np.float32]:
    return np.random.default_rng(3).uniform(-1, 1, (count, 1, *shape)).astype(np.float32)


def networks_of(model: Path) -> tuple[Any, Any]:
    detector = load_detector(model, CPU)
    assert isinstance(detector, LocateRefineDetector)
    return detector.networks


@pytest.mark.parametrize("shape", [SOME, OTHERS])
def test_locate_gives_the_probability_of_every_place_and_of_nowhere(
    tiny_model: Path, tiny_export: Path, shape: tuple[int, ...]
) -> None:
    image = an_image(shape)
    with torch.inference_mode():
        heat = networks_of(tiny_model)[0](torch.from_numpy(image)).numpy().astype(np.float64)
    places, nowhere = session_of(tiny_export / "locate.onnx").run(["heat", "nowhere"], {"image": image})
    total = 1 + np.exp(heat).sum(axis=(2, 3, 4), keepdims=True)
    np.testing.assert_allclose(np.exp(places), np.exp(heat) / total, rtol=1e-3)
    np.testing.assert_allclose(np.exp(nowhere), 1 / total[..., 0, 0, 0], rtol=1e-3)


@pytest.mark.parametrize(("shape", "count"), [(SOME, 1), (OTHERS, 3)])
def test_refine_gives_what_the_network_says_of_windows_as_large_as_their_fields(
    tiny_model: Path, tiny_export: Path, shape: tuple[int, ...], count: int
) -> None:
    network = networks_of(tiny_model)[1]
    images, asked = an_image((16, 16, 16), count), np.arange(count)[::-1].copy()
    offsets = np.random.default_rng(1).normal(size=(count, 3)).astype(np.float32)
    with torch.inference_mode():
        features = network.features(torch.from_numpy(images))
        windows = cut_windows(features, torch.arange(count), torch.zeros(count, 3, dtype=torch.long), 16)
        heat, presence = network.ask(windows, torch.from_numpy(asked), torch.from_numpy(offsets))
        evidence = network.evidence(windows, torch.from_numpy(asked))
    given = {"image": images, "landmark": asked, "offset": offsets, "doubt": np.array(0, np.float32)}
    session = session_of(tiny_export / "refine.onnx")
    told, there = session.run(["heat", "presence"], given)
    np.testing.assert_allclose(told, heat.numpy(), atol=1e-3)
    np.testing.assert_allclose(there, presence.numpy(), atol=1e-3)
    doubted, _ = session.run(["heat", "presence"], {**given, "doubt": np.array(1e6, np.float32)})
    np.testing.assert_allclose(doubted, evidence.numpy(), atol=1e-3)
    assert session.run(["heat"], {**given, "image": an_image(shape, count)})[0].shape == (count, *shape)


def test_the_files_say_what_they_take_and_give_and_any_size_will_do(
    tiny_model: Path, tiny_export: Path
) -> None:
    onnx = pytest.importorskip("onnx", reason="the extra onnx is not installed")
    for name in ("locate", "refine"):
        model = onnx.load(tiny_export / f"{name}.onnx")
        described = {
            **{value.name: value.doc_string for value in model.graph.input},
            **{value.name: value.doc_string for value in model.graph.output},
        }
        assert described == {**GRAPHS[name].inputs, **GRAPHS[name].outputs}
        image = model.graph.input[0].type.tensor_type.shape.dim
        assert all(side.dim_param for side in image[2:]) and image[1].dim_value == 1
        assert {node.domain for node in model.graph.node} <= {"", "ai.onnx"}
        kinds = {tensor.data_type for tensor in model.graph.initializer}
        assert kinds <= {onnx.TensorProto.FLOAT, onnx.TensorProto.INT64}
    assert (tiny_export / "model.json").read_bytes() == (tiny_model / "model.json").read_bytes()


def test_a_file_that_is_not_the_network_is_not_kept(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnxscript", reason="the extra onnx is not installed")
    monkeypatch.setattr(onnx_export, "TOLERANCE", 1e-12)
    with pytest.raises(InputError, match=r"locate\.onnx: not written, for ONNX Runtime differs .* update"):
        export_onnx(tiny_model, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_where_the_second_network_fails_the_first_is_not_left_behind(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnxscript", reason="the extra onnx is not installed")
    differences = iter([0.0, 1.0])
    monkeypatch.setattr(onnx_export, "_difference", lambda *_: next(differences))
    with pytest.raises(InputError, match=r"refine\.onnx: not written"):
        export_onnx(tiny_model, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_without_onnx_one_sentence_says_what_to_install(
    tiny_model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    assert main(["bundle", "export", str(tiny_model), "--onnx", "--output", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert "onnxscript is not installed" in said and 'pip install -e ".[onnx]"' in said
    assert not (tmp_path / "out").exists()


def test_the_command_exports_a_dense_model_and_says_how_far_off_its_values_are_or_that_nobody_looked(
    a_model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("onnxscript", reason="the extra onnx is not installed")
    pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
    monkeypatch.chdir(tmp_path)
    assert main(["bundle", "export", str(a_model), "--onnx"]) == 0
    assert sorted(file.name for file in (tmp_path / "small-onnx").iterdir()) == ["dense.onnx", "model.json"]
    assert "dense in ONNX Runtime differs from PyTorch by" in capsys.readouterr().out
    detector, image = load_detector(a_model, CPU), an_image(OTHERS)
    assert isinstance(detector, DenseDetector)
    with torch.inference_mode():
        expected = torch.softmax(detector.network(torch.from_numpy(image)), dim=1).numpy()
    told = session_of(tmp_path / "small-onnx/dense.onnx").run(["probability"], {"image": image})[0]
    assert told.shape == (1, 4, *OTHERS)
    np.testing.assert_allclose(told, expected, atol=1e-4)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert main(["bundle", "export", str(a_model), "--onnx"]) == 0
    assert "not checked" in capsys.readouterr().err
