"""Frames for hypothesis."""

from itertools import permutations

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from LandmarkDetectionLib.data.frame import Frame

settings.register_profile("floor", deadline=None, max_examples=50)
settings.load_profile("floor")


@st.composite
def rotations(draw: st.DrawFn) -> NDArray[np.float64]:
    """A 3 x 3 rotation, from a random quaternion."""
    w, x, y, z = draw(st.tuples(*[st.floats(-1, 1)] * 4).filter(lambda q: np.linalg.norm(q) > 0.1))
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    axis = np.array([x, y, z])
    turn = (w**2 - axis @ axis) * np.eye(3) + 2 * np.outer(axis, axis) + 2 * w * cross
    return np.asarray(turn / (w**2 + axis @ axis))


@st.composite
def frames(draw: st.DrawFn) -> Frame:
    """Frames as scanners make them: anisotropic, oblique, flipped and permuted, with right angles."""
    turn = draw(st.one_of(st.just(np.eye(3)), rotations()))
    order = draw(st.sampled_from(list(permutations(range(3)))))
    signs = draw(st.tuples(*[st.sampled_from([-1.0, 1.0])] * 3))
    return Frame(
        size=draw(st.tuples(*[st.integers(2, 12)] * 3)),
        origin=draw(st.tuples(*[st.floats(-500, 500)] * 3)),
        spacing=draw(st.tuples(*[st.floats(0.05, 5)] * 3)),
        direction=turn[:, order] * signs,
    )


st.register_type_strategy(Frame, frames())
