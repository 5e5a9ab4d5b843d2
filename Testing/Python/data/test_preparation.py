"""A scan as the networks see it."""

import numpy as np
import pytest

from LandmarkDetectionLib.data.errors import InputError
from LandmarkDetectionLib.data.frame import Frame
from LandmarkDetectionLib.data.intensity import Normaliser
from LandmarkDetectionLib.data.preparation import Preparation
from LandmarkDetectionLib.data.volume import Volume


def test_a_torso_on_the_grid_of_a_mouse_is_refused_before_it_fills_the_memory() -> None:
    torso = Volume(np.zeros((112, 101, 122), np.int16), Frame(size=(122, 101, 112), spacing=(3, 3, 3)))
    preparation = Preparation(0.2, Normaliser("adaptive", 0.5, 99.5))
    with pytest.raises(InputError, match=r"366 x 303 x 336 mm.*0\.2 mm: crop it"):
        preparation(torso)
    assert Preparation(3.0, preparation.normaliser)(torso).voxels.shape == (112, 101, 122)
