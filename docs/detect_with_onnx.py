"""Find landmarks with nothing but NumPy and ONNX Runtime.

    python -m train_cli bundle export MODEL --onnx --output exported
    python detect_with_onnx.py exported SCAN.nii.gz

Prints each landmark with x, y, z in world LPS mm, or `absent`. SCAN is a NIfTI-1 file, little-endian and with
an sform; whoever has voxels [z, y, x] and their matrix from somewhere else calls `detect`.

It shows how the files of `locate-refine` models are used. What it finds is close to what `train_cli detect`
finds, not the same. It leaves out: other orders of the axes (the scan is believed to lie as its header says),
other intensity windows where there is much air, large scans in pieces, metal and fill values, the mirror
image, parts that move, fewer than three landmarks or a line, what the shape says of presence, and
calibration: there is no radius, no `uncertain`, and a scan that shows something else is not refused.
"""

import gzip
import itertools
import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime

KINDS = {2: "u1", 4: "<i2", 8: "<i4", 16: "<f4", 64: "<f8", 256: "i1", 512: "<u2", 768: "<u4"}  # of NIfTI


def read_nifti(path):
    """Voxels [z, y, x] and the 4 x 4 matrix from voxel x, y, z to LPS mm."""
    raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    (kind,), size = np.frombuffer(raw, "<i2", 1, 70), np.frombuffer(raw, "<i2", 3, 42)
    start, slope, shift = np.frombuffer(raw, "<f4", 3, 108)
    if np.frombuffer(raw, "<i2", 1, 254) == 0:
        sys.exit(f"{path}: it has no sform; save it with one.")
    count = int(np.prod(size, dtype=int))
    voxels = np.frombuffer(raw, KINDS[int(kind)], count, int(start)).reshape(size[::-1])
    matrix = np.vstack([np.frombuffer(raw, "<f4", 12, 280).reshape(3, 4), [0, 0, 0, 1]])
    return voxels * np.float32(slope or 1) + shift, np.diag([-1, -1, 1, 1]) @ matrix  # NIfTI is in RAS


def upright(voxels, matrix):
    """The same scan with axes that point as nearly as they can to L, P and S."""
    steps = np.abs(matrix[:3, :3] / np.linalg.norm(matrix[:3, :3], axis=0))
    order = max(itertools.permutations(range(3)), key=lambda axes: steps[[0, 1, 2], axes].sum())
    voxels, matrix = voxels.transpose([2 - axis for axis in order][::-1]), matrix[:, [*order, 3]]
    for axis in range(3):
        if matrix[axis, axis] < 0:
            voxels = np.flip(voxels, 2 - axis)
            matrix[:, 3] += matrix[:, axis] * (voxels.shape[2 - axis] - 1)
            matrix[:, axis] *= -1
    return voxels.astype(np.float32), matrix


def on_grid(voxels, matrix, spacing):
    """The scan with cubic voxels along the same axes; what becomes coarser is smoothed."""
    matrix = matrix.copy()
    for axis in range(3):
        count, ratio = voxels.shape[2 - axis], spacing / np.linalg.norm(matrix[:3, axis])
        wanted = max(int(np.ceil(count / ratio - 1e-3)), 1)
        first = (count - 1 - ratio * (wanted - 1)) / 2
        apart = np.arange(count) - np.clip(first + ratio * np.arange(wanted), 0, count - 1)[:, None]
        weights = np.maximum(0, 1 - np.abs(apart) / max(ratio, 1)).astype(np.float32)
        weights /= weights.sum(axis=1, keepdims=True)
        voxels = np.moveaxis(np.tensordot(weights, voxels, (1, 2 - axis)), 0, 2 - axis)
        matrix[:, 3] += matrix[:, axis] * first
        matrix[:, axis] *= ratio
    return voxels, matrix


def sample(voxels, places, outside):
    """Values at voxel places (..., 3) x, y, z, by trilinear interpolation."""
    below = np.floor(places).astype(int)
    values = np.zeros(places.shape[:-1], np.float32)
    for corner in itertools.product((0, 1), repeat=3):
        at = below + corner
        inside = ((at >= 0) & (at < voxels.shape[::-1])).all(axis=-1)
        x, y, z = np.moveaxis(np.where(inside[..., None], at, 0), -1, 0)
        share = np.prod(1 - np.abs(places - at), axis=-1)
        values += share * np.where(inside, voxels[z, y, x], outside)
    return values


def fit(source, target, weights):
    """The similarity (scale x rotation, rotation, shift) of least squares (Umeyama 1991), never mirrored."""
    weights = weights / weights.sum()
    start, end = weights @ source, weights @ target
    left, strengths, right = np.linalg.svd((weights[:, None] * (target - end)).T @ (source - start))
    signs = [1, 1, np.sign(np.linalg.det(left @ right))]
    rotation = left * signs @ right
    turn = strengths @ signs / (weights @ ((source - start) ** 2).sum(axis=1)) * rotation
    return turn, rotation, end - turn @ start


def mean_cell(weights):
    """The mean cell x, y, z of weights (Z, Y, X)."""
    return np.tensordot(np.indices(weights.shape)[::-1], weights, 3) / max(weights.sum(), 1e-12)


def locate(session, voxels, matrix, stride):
    """The three likeliest places (K, 3, 3) of each landmark, LPS mm, and their probabilities (K, 3)."""
    image = np.pad(voxels, [(0, -length % stride) for length in voxels.shape], constant_values=voxels.min())
    heat = np.exp(session.run(["heat"], {"image": image[None, None]})[0][0])
    points, values = np.zeros((len(heat), 3, 3)), np.zeros((len(heat), 3))
    for row, number in itertools.product(range(len(heat)), range(3)):
        peak = np.unravel_index(heat[row].argmax(), heat[row].shape)
        around = heat[row][tuple(slice(max(cell - 2, 0), cell + 3) for cell in peak)]
        values[row, number] = around.sum()
        cell = mean_cell(around) + np.maximum(np.subtract(peak, 2), 0)[::-1]
        points[row, number] = matrix[:3, :3] @ (cell * (image.shape[0] // heat.shape[1])) + matrix[:3, 3]
        around[:] = 0
    return points, values


def align(points, values, shape, tolerance, smallest, largest):
    """The pose of the mean shape with which most candidates agree: RANSAC over triples, then a robust fit."""
    rng, best, score = np.random.default_rng(0), None, 0.0
    likely, shares = values.max(axis=1), values / values.sum(axis=1, keepdims=True)

    def agreement(pose):
        apart = np.linalg.norm(points - (shape @ pose[0].T + pose[2])[:, None], axis=2)
        return values * np.exp(-((apart / tolerance) ** 2) / 8)

    for _ in range(2000):
        trio = rng.choice(len(shape), 3, replace=False, p=likely / likely.sum())
        target = np.array([points[row, rng.choice(3, p=shares[row])] for row in trio])
        pose = fit(shape[trio], target, np.ones(3))
        if smallest <= np.cbrt(np.linalg.det(pose[0])) <= largest:
            agreeing = agreement(pose).max(axis=1).sum()
            best, score = (pose, agreeing) if agreeing > score else (best, score)
    for _ in range(10):
        near = agreement(best)
        nearest = near.argmax(axis=1)
        rows = np.arange(len(shape))
        best = fit(shape, points[rows, nearest], near[rows, nearest])
    return best


def read_heat(heat):
    """Where heat (Z, Y, X) is strongest, cells x, y, z: mean shift under a Gaussian of 2.5 cells."""
    shares, place = np.exp(heat - heat.max()), np.unravel_index(heat.argmax(), heat.shape)[::-1]
    cells = np.moveaxis(np.indices(heat.shape)[::-1], 0, -1)
    for _ in range(12):
        place = mean_cell(shares * np.exp(-((cells - place) ** 2).sum(axis=-1) / (2 * 2.5**2)))
    return place


def refine(session, scan, matrix, pose, shape, rows, settings, doubt, stride):
    """Places (K, 3) LPS mm and logits of presence (K,), looked for around the mean shape in a pose."""
    spacing, (turn, rotation, shift) = settings["spacing"], pose
    side = -(-(settings["window"] + 5 + 2 * int(np.ceil(doubt / spacing))) // stride) * stride
    box = np.moveaxis(np.indices([side] * 3)[::-1], 0, -1) - (side - 1) / 2  # x, y, z
    places, presences, lowest = np.zeros((len(rows), 3)), np.zeros(len(rows)), scan.min()
    offset, doubt = np.zeros((1, 3), np.float32), np.array(doubt / spacing, np.float32)
    for number, start in enumerate(shape @ turn.T + shift):
        points = start + box @ (rotation * spacing).T
        image = sample(scan, (points - matrix[:3, 3]) @ np.linalg.inv(matrix[:3, :3]).T, lowest)[None, None]
        asked = {"image": image, "landmark": rows[number : number + 1], "offset": offset, "doubt": doubt}
        heat, presence = session.run(["heat", "presence"], asked)
        places[number] = start + rotation @ ((read_heat(heat[0]) - (side - 1) / 2) * spacing)
        presences[number] = presence[0]
    return places, presences


def detect(folder, voxels, matrix):
    """Names, places (K, 3) LPS mm and logits of presence (K,) of a model's landmarks in a scan."""
    model = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    sessions = {name: onnxruntime.InferenceSession(folder / f"{name}.onnx") for name in ("locate", "refine")}
    strides = {
        name: unet["reduction"] * 2 ** (len(unet["channels"]) - 1) for name, unet in model["network"].items()
    }
    settings, window = model["detection"], model["preparation"]["normaliser"]
    rows = np.array([row for row, point in enumerate(model["mean_shape"]) if point], np.int64)
    shape = np.array([model["mean_shape"][row] for row in rows])

    def normalised(spacing):
        scan, grid = on_grid(*upright(voxels, matrix), spacing)
        ends = [window["low"], window["high"]]
        low, high = np.percentile(scan, ends) if window["kind"] == "adaptive" else ends
        return np.clip((scan - low) * 2 / (high - low) - 1, -1, 1).astype(np.float32), grid

    points, values = locate(sessions["locate"], *normalised(settings["locate"]["spacing"]), strides["locate"])
    tolerance, sizes = settings["tolerance"], (settings["smallest"], settings["largest"])
    pose = align(points[rows], values[rows], shape, tolerance, *sizes)
    scan, grid = normalised(model["preparation"]["spacing"])
    few = slice(None, None, max(len(rows) // 12, 1))  # settle the pose first
    for doubt, some in ((1.75 * tolerance, few), (tolerance / 3, slice(None)), (0.0, slice(None))):
        fine = sessions["refine"], scan, grid, pose, shape[some], rows[some], settings["refine"]
        places, presences = refine(*fine, doubt, strides["refine"])
        pose = fit(shape[some], places, (presences > 0).astype(float))
    cells = (places - grid[:3, 3]) @ np.linalg.inv(grid[:3, :3]).T
    inside = ((cells > -0.5) & (cells < np.array(scan.shape[::-1]) - 0.5)).all(axis=1)
    return [model["landmarks"][row]["name"] for row in rows], places, np.where(inside, presences, -np.inf)


if __name__ == "__main__":
    for name, place, presence in zip(*detect(Path(sys.argv[1]), *read_nifti(Path(sys.argv[2]))), strict=True):
        print(name, *(f"{number:.3f}" for number in place) if presence > 0 else ["absent"])
