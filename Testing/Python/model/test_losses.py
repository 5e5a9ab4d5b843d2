"""The losses against their definitions."""

import math

import pytest
import torch
import torch.nn.functional as functional

from LandmarkDetectionLib.model.losses import IGNORED, focal_loss, heat_loss


def example(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(2, 4, 5, 6, 7, generator=generator) * 3
    classes = torch.randint(-1, 4, (2, 5, 6, 7), generator=generator)
    return logits, classes


def test_agrees_with_the_definition_voxel_by_voxel() -> None:
    logits, classes = example()
    probability = torch.softmax(logits.double(), dim=1)
    total, landmark_voxels = 0.0, 0
    for b, z, y, x in torch.nonzero(classes != IGNORED).tolist():
        k = int(classes[b, z, y, x])
        p = float(probability[b, k, z, y, x])
        weight = 0.3 if k == 0 else 1.0
        total -= weight * (1 - p) ** 2.5 * torch.log(torch.tensor(p, dtype=torch.float64)).item()
        landmark_voxels += k > 0
    loss = focal_loss(logits, classes, gamma=2.5, background_weight=0.3)
    torch.testing.assert_close(
        loss.double(), torch.tensor(total / landmark_voxels).double(), rtol=1e-5, atol=1e-6
    )


def test_is_the_cross_entropy_where_gamma_is_zero() -> None:
    logits, classes = example()
    summed = functional.cross_entropy(logits, classes, ignore_index=IGNORED, reduction="sum")
    torch.testing.assert_close(focal_loss(logits, classes, gamma=0), summed / (classes > 0).sum())


def test_ignored_voxels_have_no_gradient() -> None:
    logits, classes = example()
    logits.requires_grad_()
    focal_loss(logits, classes).backward()
    assert logits.grad is not None
    by_voxel = logits.grad.abs().sum(dim=1)
    assert by_voxel[classes == IGNORED].max() == 0
    assert by_voxel[classes != IGNORED].min() > 0


def test_is_finite_at_the_limits_of_half_precision() -> None:
    logits = torch.full((1, 3, 2, 2, 2), -6e4, dtype=torch.float16)
    logits[:, 1] = 6e4
    logits.requires_grad_()
    for value in (0, 1, 2):
        loss = focal_loss(logits, torch.full((1, 2, 2, 2), value))
        loss.backward()
        assert torch.isfinite(loss)
        assert logits.grad is not None and torch.isfinite(logits.grad).all()


def test_is_computed_in_float32_within_autocast() -> None:
    logits, classes = example()
    with torch.autocast("cpu", torch.bfloat16):
        loss = focal_loss(logits.bfloat16(), classes)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, focal_loss(logits.bfloat16().float(), classes))


def test_a_batch_without_landmarks_does_not_outweigh_one_with() -> None:
    logits = torch.zeros(1, 4, 22, 22, 22)
    nothing = torch.zeros(1, 22, 22, 22, dtype=torch.long)
    something = nothing.clone()
    something[0, :2, :2, :2] = 1
    assert focal_loss(logits, nothing) < 1.5 * focal_loss(logits, something)


def test_is_zero_where_everything_is_ignored() -> None:
    logits, _ = example()
    assert focal_loss(logits, torch.full((2, 5, 6, 7), IGNORED)) == 0


def test_classes_that_an_annotation_does_not_speak_of_take_no_part() -> None:
    logits, classes = example()
    classes[0][classes[0] == 2] = 0
    known = torch.ones(2, 4, dtype=torch.bool)
    known[0, 2] = False
    logits.requires_grad_()
    loss = focal_loss(logits, classes, known=known)
    loss.backward()
    assert logits.grad is not None
    assert logits.grad[0, 2].abs().max() == 0 and logits.grad[1, 2].abs().max() > 0
    without = focal_loss(logits[:1, [0, 1, 3]], classes[:1].where(classes[:1] != 3, 2))
    torch.testing.assert_close(focal_loss(logits[:1], classes[:1], known=known[:1]), without)


def test_where_all_classes_are_known_nothing_changes() -> None:
    logits, classes = example()
    known = torch.ones(2, 4, dtype=torch.bool)
    assert focal_loss(logits, classes, known=known) == focal_loss(logits, classes)


def test_heat_is_best_where_it_is_the_gaussian_itself() -> None:
    place = torch.tensor([[[3.3, 2.6, 4.1]]])
    z, y, x = torch.meshgrid(torch.arange(8), torch.arange(7), torch.arange(6), indexing="ij")
    squared = (x - 3.3) ** 2 + (y - 2.6) ** 2 + (z - 4.1) ** 2
    right = (-squared / (2 * 1.2**2))[None, None].requires_grad_()
    loss = heat_loss(right, place, width=1.2)
    (slope,) = torch.autograd.grad(loss, right)
    assert slope.abs().max() < 1e-6
    shifted = torch.roll(right.detach(), 1, dims=4)
    assert heat_loss(shifted, place, width=1.2) > loss + 0.1


def test_landmarks_outside_their_map_and_unknown_ones_do_not_count() -> None:
    torch.manual_seed(0)
    heat = torch.randn(1, 4, 6, 6, 6)
    nan = float("nan")
    places = torch.tensor([[[2.0, 3, 1], [nan, nan, nan], [9.0, 1, 1], [1.0, -2, 1]]])
    alone = heat_loss(heat[:, :1], places[:, :1], width=1.0)
    torch.testing.assert_close(heat_loss(heat, places, width=1.0), alone)
    assert heat_loss(heat[:, 1:], places[:, 1:], width=1.0) == 0


@pytest.mark.parametrize("constant", [-7.0, 3.0])
def test_a_constant_changes_nothing(constant: float) -> None:
    torch.manual_seed(1)
    heat, places = torch.randn(2, 3, 5, 6, 7), torch.rand(2, 3, 3) * 4
    torch.testing.assert_close(
        heat_loss(heat + constant, places, width=0.8), heat_loss(heat, places, width=0.8)
    )


def test_gradients_stay_finite_where_a_landmark_is_unknown() -> None:
    heat = torch.randn(1, 2, 4, 4, 4, requires_grad=True)
    places = torch.tensor([[[1.0, 1, 1], [float("nan")] * 3]])
    heat_loss(heat, places, width=1.0).backward()
    assert heat.grad is not None and torch.isfinite(heat.grad).all()
    assert heat.grad[0, 1].abs().max() == 0


def test_a_landmark_that_is_nowhere_wants_no_heat_and_one_that_is_there_wants_it() -> None:
    heat = torch.zeros(1, 2, 3, 3, 3)
    places = torch.tensor([[[1.0, 1, 1], [float("nan")] * 3]])
    absent = torch.tensor([[False, True]])
    even = heat_loss(heat, places, width=0.1, absent=absent)
    assert float(even) == pytest.approx(math.log(28), rel=1e-5), "27 cells and nowhere"
    heat[0, 0, 1, 1, 1] = 20
    heat[0, 1] = -20
    assert float(heat_loss(heat, places, width=0.1, absent=absent)) < 1e-4
    assert float(heat_loss(-heat, places, width=0.1, absent=absent)) > 10
