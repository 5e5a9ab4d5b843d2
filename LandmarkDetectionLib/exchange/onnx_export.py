"""The networks of a bundle as ONNX files, for programs that have neither PyTorch nor this library.

What a graph takes and gives stands in `GRAPHS` and, in the same words, in the files themselves. Images are
normalised to -1 .. 1 as `preparation.normaliser` of `model.json` says, on cubic voxels. Arrays are [z, y, x],
positions and offsets x, y, z. All is float32: what makes PyTorch fast on a CPU is left out of the graphs.
"""

from __future__ import annotations

import copy
import logging
import shutil
import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from LandmarkDetectionLib.data.errors import InputError
from LandmarkDetectionLib.data.files import make_folder, replacing
from LandmarkDetectionLib.detection.detector import DenseDetector, load_detector
from LandmarkDetectionLib.detection.locate_refine import LocateRefineDetector
from LandmarkDetectionLib.model.bundle import DESCRIPTION_FILE
from LandmarkDetectionLib.model.queries import LocateNetwork, RefineNetwork
from LandmarkDetectionLib.model.vnet import STRIDE, VNet

TOLERANCE = 1e-3
"""Of the largest value of an output: an ONNX file that differs by more is not the network."""
_NEEDED = ("onnx", "onnxscript")
_OPSET = 18
_DRAWN, _CHECKED = (3, 4, 5), ((3, 4, 5), (6, 3, 2))
"""Sides of the images, in strides, from which graphs are drawn and on which they are checked."""


@dataclass(frozen=True)
class Graph:
    """What one ONNX file takes and gives.

    Attributes:
        inputs: by name, shape and meaning.
        outputs: the same.
    """

    inputs: dict[str, str]
    outputs: dict[str, str]


GRAPHS = {
    "locate": Graph(
        {"image": "(1, 1, Z, Y, X) float32: the whole scan at detection.locate.spacing mm"},
        {
            "heat": "(1, K, Z, Y, X) float32, by the reduction coarser than the image: logarithm of the "
            "probability that each landmark is there",
            "nowhere": "(1, K) float32: logarithm of the probability that it is not in the scan",
        },
    ),
    "refine": Graph(
        {
            "image": "(N, 1, Z, Y, X) float32: boxes of the scan at detection.refine.spacing mm, along the "
            "axes of the mean shape, one around where each landmark is expected",
            "landmark": "(N,) int64: row of each in the list of landmarks",
            "offset": "(N, 3) float32: where each is expected, voxels x, y, z from the middle of its box",
            "doubt": "() float32: standard deviation along one axis, voxels, by which the pose behind the "
            "expectation may be off; 0 where all landmarks have told the pose",
        },
        {
            "heat": "(N, Z, Y, X) float32: logarithm of the heat of each landmark, up to a constant",
            "presence": "(N,) float32: logit of the probability, not yet calibrated, that it is there at all",
        },
    ),
    "dense": Graph(
        {"image": "(1, 1, Z, Y, X) float32: the scan, or a window of it, at preparation.spacing mm"},
        {"probability": "(1, K + 1, Z, Y, X) float32: of background, then of each landmark"},
    ),
}


@dataclass(frozen=True)
class Exported:
    """The files of an export.

    Attributes:
        files: that were written.
        differences: by network, the largest between ONNX Runtime and PyTorch, as a share of the largest value
            of the output; none where ONNX Runtime is not installed.
    """

    files: tuple[Path, ...]
    differences: dict[str, float]


def export_onnx(folder: Path, output: Path) -> Exported:
    """Write the networks of a bundle as ONNX files, with its `model.json`, and check them in ONNX Runtime.

    Args:
        folder: the bundle.
        output: the folder to write into, made if need be.

    Raises:
        InputError: if it is no whole bundle, the packages that write ONNX are not installed, the folder
            cannot be written, or ONNX Runtime gives other values than PyTorch.
    """
    missing = [package for package in _NEEDED if find_spec(package) is None]
    if missing:
        raise InputError(
            f"--onnx: {' and '.join(missing)} is not installed here; install what it takes with: "
            'pip install -e ".[onnx]"'
        )
    asked = _asked_of(load_detector(folder, torch.device("cpu")))
    make_folder(output)
    files = [*(output / f"{name}.onnx" for name in asked), output / DESCRIPTION_FILE]
    differences = {}
    with ExitStack() as whole:  # all files take their places, or none
        *graphs, description = [whole.enter_context(replacing(path)) for path in files]
        shutil.copyfile(Path(folder) / DESCRIPTION_FILE, description)
        for (name, network), path, temporary in zip(asked.items(), files, graphs, strict=False):
            _write(network, GRAPHS[name], temporary)
            if find_spec("onnxruntime") is not None:
                differences[name] = _difference(network, GRAPHS[name], temporary)
                if not differences[name] <= TOLERANCE:
                    raise InputError(
                        f"{path}: not written, for ONNX Runtime differs from PyTorch by "
                        f"{differences[name]:.2g} of the largest value; update torch, onnx and onnxruntime."
                    )
    return Exported(tuple(files), differences)


class _Asked(nn.Module):
    """A network with what is asked of it, and examples of its inputs.

    Attributes:
        stride: the image's sides are multiples of this.
    """

    stride: int

    def inputs(self, sides: Sequence[int]) -> tuple[Tensor, ...]:
        """Random inputs with an image of so many strides along z, y, x."""
        return (_uniform(1, 1, *(self.stride * count for count in sides)),)


class _Locate(_Asked):
    def __init__(self, network: LocateNetwork) -> None:
        super().__init__()
        self.network, self.stride = _plain(network), network.settings.stride

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        heat = self.network(image)
        nowhere = -torch.nn.functional.softplus(torch.logsumexp(heat.flatten(2), dim=2))
        return heat + nowhere[:, :, None, None, None], nowhere


class _Refine(_Asked):
    def __init__(self, network: RefineNetwork) -> None:
        super().__init__()
        self.network, self.stride = _plain(network), network.settings.stride

    def inputs(self, sides: Sequence[int]) -> tuple[Tensor, ...]:
        count = sides[0]  # as good as any: another one for another size
        images = _uniform(count, 1, *(self.stride * side for side in sides))
        landmarks = torch.arange(count) % len(self.network.codes)
        return images, landmarks, _uniform(count, 3), torch.tensor(0.5)

    def forward(
        self, image: Tensor, landmark: Tensor, offset: Tensor, doubt: Tensor
    ) -> tuple[Tensor, Tensor]:
        features = self.network.features(image)
        heat = self.network.evidence(features, landmark)
        heat = heat + self.network.expectation(features.shape[2:], landmark, offset, doubt)
        return heat, self.network.presence_logits(features, heat, landmark)


class _Dense(_Asked):
    def __init__(self, network: VNet) -> None:
        super().__init__()
        self.network, self.stride = _plain(network), STRIDE

    def forward(self, image: Tensor) -> Tensor:
        return torch.softmax(self.network(image), dim=1)


def _uniform(*shape: int) -> Tensor:
    """Random numbers from -1 to 1, always the same."""
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0)) * 2 - 1


def _asked_of(detector: object) -> dict[str, _Asked]:
    if isinstance(detector, LocateRefineDetector):
        locate, refine = detector.networks
        return {"locate": _Locate(locate), "refine": _Refine(refine)}
    assert isinstance(detector, DenseDetector)
    return {"dense": _Dense(detector.network)}


def _plain(network: nn.Module) -> Any:
    """A copy of a network of PyTorch's own layers, of which ours are only faster versions."""
    plain = copy.deepcopy(network)
    for layer in plain.modules():
        for kind in (nn.Conv3d, nn.ConvTranspose3d, nn.GroupNorm):
            if isinstance(layer, kind):
                layer.__class__ = kind
    return plain


def _write(network: _Asked, graph: Graph, path: Path) -> None:
    inputs = network.inputs(_DRAWN)
    sides = {2 + axis: network.stride * torch.export.Dim(f"{name}_cells") for axis, name in enumerate("zyx")}
    several = {0: torch.export.Dim("landmarks")}
    shapes = ({**several, **sides}, several, several, None) if len(inputs) > 1 else (sides,)
    with _quietly(), torch.no_grad():
        program = torch.onnx.export(
            network,
            inputs,
            input_names=list(graph.inputs),
            output_names=list(graph.outputs),
            dynamic_shapes=shapes,
            opset_version=_OPSET,
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    for value in (*program.model.graph.inputs, *program.model.graph.outputs):
        value.doc_string = {**graph.inputs, **graph.outputs}[str(value.name)]
    program.save(str(path), external_data=False)


def _difference(network: _Asked, graph: Graph, path: Path) -> float:
    """The largest between ONNX Runtime and PyTorch on random fields of two sizes, in shares."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    largest = 0.0
    for sides in _CHECKED:
        inputs = network.inputs(sides)
        with torch.no_grad():
            expected = network(*inputs)
        given = session.run(
            list(graph.outputs),
            {name: tensor.numpy() for name, tensor in zip(graph.inputs, inputs, strict=True)},
        )
        for one, other in zip(expected if isinstance(expected, tuple) else (expected,), given, strict=True):
            apart = np.abs(one.numpy() - other).max() / np.abs(one.numpy()).max()
            largest = max(largest, float(apart))
    return largest


@contextmanager
def _quietly() -> Iterator[None]:
    """Without what PyTorch says of its own insides while it draws a graph."""
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        finally:
            log.setLevel(level)
