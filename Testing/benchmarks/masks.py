"""Seconds to draw a mask of 175 landmarks on a 512 x 512 x 400 grid, and to find their centres again.

Run from the repository's root: `OMP_NUM_THREADS=1 python -m Testing.benchmarks.masks`.
"""

import time

import numpy as np

from LandmarkDetectionLib.data.frame import Frame
from LandmarkDetectionLib.data.masks import default_radii, draw_mask, mask_centres

LANDMARKS = 175


def main() -> None:
    """Draw, find, and print the seconds and the errors."""
    random = np.random.default_rng(0)
    turn, _ = np.linalg.qr(random.normal(size=(3, 3)))
    frame = Frame(size=(512, 512, 400), spacing=(0.45, 0.45, 0.6), direction=turn)
    points = frame.index_to_world(random.uniform(0, np.array(frame.size) - 1, (LANDMARKS, 3)))
    labels = range(1, LANDMARKS + 1)
    positive, negative = default_radii(frame.spacing)

    start = time.perf_counter()
    mask = draw_mask(frame, points, labels, positive=positive, negative=negative)
    drawn = time.perf_counter()
    centres = mask_centres(mask, frame)
    found = time.perf_counter()

    errors = np.linalg.norm([centres[label] - points[label - 1] for label in centres], axis=1)
    errors /= np.prod(frame.spacing) ** (1 / 3)
    print(f"draw_mask     {drawn - start:.2f} s")
    print(
        f"mask_centres  {found - drawn:.2f} s, error {errors.mean():.3f} voxels, at most {errors.max():.3f}"
    )


if __name__ == "__main__":
    main()
