"""A training that goes on from a model: what it keeps of it, by landmark, and what it refuses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pandas as pd
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from LandmarkDetectionLib.data.cases import Case, write_split
from LandmarkDetectionLib.data.errors import InputError
from LandmarkDetectionLib.data.frame import Frame
from LandmarkDetectionLib.data.intensity import Normaliser
from LandmarkDetectionLib.data.landmark_files import write_landmarks
from LandmarkDetectionLib.data.landmarks import LandmarkSet
from LandmarkDetectionLib.data.preparation import Preparation
from LandmarkDetectionLib.data.shape import fit_robustly
from LandmarkDetectionLib.data.shape_model import learn_shape
from LandmarkDetectionLib.data.table import Landmark, LandmarkTable, write_table
from LandmarkDetectionLib.data.volume import Volume, write_volume
from LandmarkDetectionLib.model.bundle import (
    Bundle,
    Calibration,
    Level,
    load_bundle,
    load_weights,
    save_bundle,
)
from LandmarkDetectionLib.model.queries import LocateNetwork, RefineNetwork
from LandmarkDetectionLib.model.unet import UNetSettings
from LandmarkDetectionLib.model.vnet import VNet, VNetSettings
from LandmarkDetectionLib.training.base import Base
from LandmarkDetectionLib.training.cases.cache import CACHE_VERSION, PreparedCase
from LandmarkDetectionLib.training.config import read_config, write_config
from LandmarkDetectionLib.training.dense.config import DenseConfig
from LandmarkDetectionLib.training.locate_refine.config import LocateRefineConfig
from LandmarkDetectionLib.training.planning.plan import make_plan
from LandmarkDetectionLib.training.running.cross_validation import cross_validate
from LandmarkDetectionLib.training.running.loop import train
from LandmarkDetectionLib.training.sections import TrainingConfig

Array = NDArray[np.float64]
CPU = torch.device("cpu")
KNOWN = ("nose", "ear left", "ear right", "chin", "crown", "nape")
HEAD = np.array([[0, -9, 0], [-7, 0, 1], [7, 0, 1], [0, -6, -8], [0, 1, 9], [0, 9, -4]], dtype=float)
NAMES = {
    "the same": KNOWN,
    "in another order": KNOWN[::-1],
    "more": ("brow", *KNOWN[3:], *KNOWN[:3]),
    "fewer": (KNOWN[4], *KNOWN[:3]),
    "others": ("brow", KNOWN[5], KNOWN[0], "cheek", KNOWN[3]),
}
SMALL = UNetSettings(channels=(8, 8))


def a_base(names: Sequence[str] = KNOWN, *, weights: dict[str, Tensor] | None = None, **changes: Any) -> Base:
    """A model of heads, known by their shapes."""
    bundle = Bundle(
        name="heads",
        engine="dense",
        table=LandmarkTable.from_names(names),
        preparation=Preparation(1.0, Normaliser("adaptive", 0.5, 99.5)),
        network={},
        detection={},
        shape=learn_shape(many_heads(20)),
    )
    return Base(Path("heads"), replace(bundle, **changes), weights or {}, "digest")


def many_heads(count: int, *, seed: int = 0, spread: float = 0.4, size: float = 1.0) -> Array:
    """(count, 6, 3) heads in poses of their own."""
    rng = np.random.default_rng(seed)
    turns = np.linalg.qr(rng.standard_normal((count, 3, 3)))[0]
    turns *= np.sign(np.linalg.det(turns))[:, None, None]
    shapes = size * (HEAD + rng.normal(0, spread, (count, *HEAD.shape)))
    moved: Array = shapes @ turns.transpose(0, 2, 1) + rng.uniform(-50, 50, (count, 1, 3))
    return moved


def a_network(kind: str, landmarks: int) -> LocateNetwork | RefineNetwork | VNet:
    if kind == "locate":
        return LocateNetwork(replace(SMALL, reduction=2), landmarks)
    if kind == "refine":
        return RefineNetwork(SMALL, landmarks, deviation=2.0)
    return VNet(VNetSettings(classes=landmarks + 1, channels=(8, 8, 8)))


@pytest.mark.parametrize("names", NAMES.values(), ids=NAMES)
@pytest.mark.parametrize("kind", ["locate", "refine", "dense"])
def test_what_is_known_of_a_landmark_goes_by_its_name(kind: str, names: Sequence[str]) -> None:
    torch.manual_seed(0)
    taught, network = a_network(kind, len(KNOWN)), a_network(kind, len(names))
    for parameter in taught.parameters():
        parameter.data.normal_(mean=5.0)
    weights = {f"{kind}.{name}": value for name, value in taught.state_dict().items()}
    a_base(weights=weights).carry_into(network, names, f"{kind}.")
    rows = network.landmark_rows
    assert rows, "some tensors have rows of landmarks"
    for name, value in network.state_dict().items():
        source = weights[f"{kind}.{name}"]
        if name not in rows:
            assert len(source) != len(KNOWN) or "head" not in name
            torch.testing.assert_close(value, source, rtol=0, atol=0)
            continue
        first = rows[name]
        torch.testing.assert_close(value[:first], source[:first], rtol=0, atol=0)
        spread, middle = torch.std_mean(source[first:], dim=0, correction=0)
        for row, landmark in enumerate(names, start=first):
            if landmark in KNOWN:
                expected = source[KNOWN.index(landmark) + first]
                torch.testing.assert_close(value[row], expected, rtol=0, atol=0)
            else:
                assert (value[row] - middle).abs().le(6 * spread).all(), "about as the others have it"


def test_pairs_groups_and_definitions_are_kept_where_the_table_says_nothing() -> None:
    old = LandmarkTable(
        (
            Landmark("ear left", 1, "ear right", "ears", "its tip"),
            Landmark("ear right", 2, "ear left", "ears"),
            Landmark("eye left", 3, "eye right", "eyes"),
            Landmark("eye right", 4, "eye left"),
            Landmark("cheek left", 5, "cheek right"),
            Landmark("cheek right", 6, "cheek left"),
            Landmark("chin", 7, "", "jaw"),
        )
    )
    new = LandmarkTable(
        (
            Landmark("chin", 1, "", "face"),
            Landmark("ear right", 2),
            Landmark("ear left", 9),
            Landmark("eye left", 3),
            Landmark("cheek left", 4, "brow"),
            Landmark("brow", 5, "cheek left"),
            Landmark("cheek right", 6),
        )
    )
    carried = {landmark.name: landmark for landmark in a_base(table=old).carried(new).landmarks}
    assert carried["ear left"] == Landmark("ear left", 9, "ear right", "ears", "its tip")
    assert carried["ear right"].pair == "ear left" and carried["ear right"].label == 2
    assert carried["chin"].group == "face", "the new table says otherwise"
    assert (carried["eye left"].pair, carried["eye left"].group) == ("", "eyes"), (
        "its counterpart is not here"
    )
    assert carried["cheek left"].pair == "brow" and carried["cheek right"].pair == ""


def upright(shape: Array) -> Array:
    """A shape with its middle at the origin, as it is turned."""
    centred: Array = shape - shape.mean(axis=0)
    return centred


def test_a_few_cases_that_fit_leave_the_shapes_as_they_are() -> None:
    base = a_base()
    shape, kept = base.shape_for(many_heads(5, seed=1), KNOWN)
    assert kept
    for part in ("mean", "modes", "deviations"):
        np.testing.assert_array_equal(getattr(shape, part), getattr(base.bundle.shape, part))
    few = ("chin", "nose", "crown", "nape")
    rows = [KNOWN.index(name) for name in few]
    shape, kept = base.shape_for(many_heads(5, seed=1)[:, rows], few)
    assert kept
    np.testing.assert_array_equal(shape.mean, base.bundle.shape.mean[rows])
    np.testing.assert_array_equal(shape.modes, base.bundle.shape.modes[:, rows])


def test_a_new_landmark_joins_the_shapes_where_the_new_cases_have_it() -> None:
    base, heads = a_base(), many_heads(5, seed=1)
    brow = 0.7 * heads[:, :1] + 0.3 * heads[:, 4:5]
    shape, kept = base.shape_for(np.concatenate([brow, heads], axis=1), ("brow", *KNOWN))
    assert kept
    np.testing.assert_array_equal(shape.mean[1:], base.bundle.shape.mean)
    expected = 0.7 * base.bundle.shape.mean[0] + 0.3 * base.bundle.shape.mean[4]
    assert np.linalg.norm(shape.mean[0] - expected) < 0.5
    assert np.isnan(shape.deviations[0]) and not shape.modes[:, 0].any(), "nobody knows how it varies"
    assert np.isnan(shape.misfits(np.concatenate([brow[0], heads[0]]))[0])


@pytest.mark.parametrize(
    ("count", "size"), [(20, 1.0), (5, np.array([1.0, 1.6, 0.6]))], ids=["many", "unlike"]
)
def test_many_cases_or_such_as_do_not_fit_have_their_own_shapes_in_the_old_pose(
    count: int, size: float | Array
) -> None:
    base = a_base()
    rng = np.random.default_rng(3)
    heads = np.array([HEAD * size + rng.normal(0, 0.4, HEAD.shape) for _ in range(count)])
    turn = np.array([[0.0, 0, 1], [1, 0, 0], [0, 1, 0]])
    shape, kept = base.shape_for(heads @ turn.T, KNOWN)
    own = learn_shape(heads @ turn.T)
    assert not kept
    np.testing.assert_allclose(shape.deviations, own.deviations)
    apart = np.linalg.norm(upright(shape.mean)[:, None] - upright(shape.mean), axis=2)
    np.testing.assert_allclose(apart, np.linalg.norm(own.mean[:, None] - own.mean, axis=2), atol=1e-9)
    cosine = (upright(shape.mean) * upright(base.bundle.shape.mean)).sum()
    cosine /= np.linalg.norm(upright(shape.mean)) * np.linalg.norm(upright(base.bundle.shape.mean))
    assert cosine > 0.9, "refine knows the anatomy in the old pose"
    turned = fit_robustly(own.mean, shape.mean).rotation
    np.testing.assert_allclose(shape.modes, own.modes @ turned.T, atol=1e-9)


def test_landmarks_of_which_the_model_knows_none_have_their_own_shapes() -> None:
    names = tuple(name.upper() for name in KNOWN)
    shape, kept = a_base().shape_for(many_heads(5), names)
    assert not kept
    np.testing.assert_array_equal(shape.mean, learn_shape(many_heads(5)).mean)


def a_case(scan: str) -> PreparedCase:
    nothing = np.zeros((0, 3))
    return PreparedCase(
        "", "", Path(f"{scan}.npy"), Frame(size=(1, 1, 1)), np.ones(3), nothing, nothing[:, 0] > 0, 0
    )


@pytest.mark.parametrize(
    ("training_data", "said"),
    [
        ({"scans": {"recipe": CACHE_VERSION, "digests": ["z"]}}, ""),
        ({"scans": {"recipe": CACHE_VERSION, "digests": ["a", "z"]}}, "was trained on 1 of the 2"),
        ({"scans": {"recipe": -1, "digests": ["z"]}}, "may have been trained on some of the 2"),
        ({}, "may have been trained on some of the 2"),
        (
            {
                "scans": {"recipe": CACHE_VERSION, "digests": []},
                "from": {"training_data": {"scans": {"recipe": CACHE_VERSION, "digests": ["b", "a"]}}},
            },
            "was trained on 2 of the 2",
        ),
    ],
)
def test_validation_cases_that_the_model_has_seen_are_counted(
    training_data: dict[str, Any], said: str
) -> None:
    caution = a_base(training_data=training_data).caution_about([a_case("a"), a_case("b")])
    assert said in caution and bool(said) == bool(caution)
    assert a_base(training_data=training_data).caution_about([]) == ""


# Whole trainings


def changed(config: TrainingConfig, **sections: dict[str, Any]) -> Any:
    content = config.model_dump()
    for section, values in sections.items():
        content[section] |= values
    return type(config).model_validate(content)


def write_heads(folder: Path, name: str, count: int, names: Sequence[str] = KNOWN, seed: int = 0) -> Path:
    """Scans of 24 mm with a bright blob at each landmark."""
    rng = np.random.default_rng(seed)
    cases = []
    for number in range(count):
        frame = Frame(size=(26, 26, 26), origin=rng.uniform(-50, 50, 3))
        points = HEAD + frame.centre + rng.normal(0, 0.4, HEAD.shape)
        known = dict(zip(KNOWN, points, strict=True))
        known |= {"brow": known["nose"] + [0, 2, 5], "cheek": known["nose"] + [4, 4, -4]}
        k, j, i = np.meshgrid(*map(np.arange, frame.shape), indexing="ij")
        places = frame.index_to_world(np.stack([i, j, k], axis=-1))
        voxels = rng.normal(0, 4, frame.shape)
        for point in points:
            voxels += 200 * np.exp(-((places - point) ** 2).sum(axis=-1) / 5)
        image = folder / f"{name}{number}.nii.gz"
        write_volume(Volume(voxels.astype(np.float32), frame), image)
        marks = folder / f"{name}{number}.mrk.json"
        write_landmarks(LandmarkSet(names, np.array([known[landmark] for landmark in names])), marks)
        cases.append(Case(f"{name}{number}", image, marks))
    write_split(cases, folder / f"{name}.csv")
    return folder / f"{name}.csv"


@pytest.fixture
def heads_config(tmp_path: Path, a_config: DenseConfig) -> LocateRefineConfig:
    """Both networks with 8 channels, two epochs of three steps."""
    shared = a_config.model_dump(include={"version", "data", "image", "training"})
    shared["training"] |= {"epochs": 2, "steps_per_epoch": 3}
    shared["data"] |= {"train": write_heads(tmp_path / "heads", "head", 3), "val": None}
    varied = a_config.augmentation.model_dump()
    look = {"spacing": 1.0, "channels": (8, 8), "augmentation": varied, "cut": 0.3}
    coarse = {"field": 24, "heat_width": 1.6, "jitter": 4.0, "anywhere": 0.1, "batch": 2, "share": 0.5}
    fine = {"field": 16, "window": 9, "heat_width": 0.7, "deviation": 1.5}
    return LocateRefineConfig.model_validate(
        {
            **shared,
            "name": "heads",
            "engine": "locate-refine",
            "locate": {**look, **coarse},
            "refine": {**look, **fine},
            "detection": {"tolerance": 2.0, "support": 0.3, "found": 0.8, "uncertain": 0.5},
        }
    )


STILL = {"epochs": 2, "steps_per_epoch": 1, "learning_rate": 1e-12, "ema": 0.0, "weight_decay": 0.0}
"""A training that changes nothing."""


def same_weights(one: Path, other: Path) -> bool:
    return (one / "weights.safetensors").read_bytes() == (other / "weights.safetensors").read_bytes()


def test_the_first_validation_is_as_good_as_the_model_whatever_the_order_of_the_landmarks(
    a_config: DenseConfig, tmp_path: Path
) -> None:
    config = changed(a_config, training={"epochs": 4, "steps_per_epoch": 30, "validate_every": 4})
    base = train(config, tmp_path / "base", device=CPU)
    known = pd.read_csv(tmp_path / "base/metrics.csv").iloc[-1]
    assert known["val_median_mm"] < 1.5, "it has learnt something"
    write_table(LandmarkTable.from_names(["far", "bright", "dark"]), tmp_path / "landmarks.csv")
    still = changed(config, training={**STILL, "epochs": 1, "base": base})
    model = train(still, tmp_path / "run", device=CPU)
    assert load_bundle(model).table.names == ("far", "bright", "dark")
    first = pd.read_csv(tmp_path / "run/metrics.csv").iloc[0]
    assert first["val_score"] == pytest.approx(known["val_score"], abs=1e-3)
    assert first["val_found"] == known["val_found"]


@pytest.mark.parametrize("names", NAMES.values(), ids=NAMES)
def test_a_run_from_a_model_begins_with_its_weights_and_says_so(
    heads_config: LocateRefineConfig, tmp_path: Path, names: Sequence[str]
) -> None:
    base = train(heads_config, tmp_path / "base", device=CPU)
    split = write_heads(tmp_path / "new", "new", 3, names, seed=1)
    write_table(LandmarkTable.from_names(names), tmp_path / "new/landmarks.csv")
    config = changed(heads_config, data={"train": split}, training={**STILL, "base": base})
    model = train(config, tmp_path / "run", device=CPU)
    bundle, before, after = load_bundle(model), load_weights(base), load_weights(model)
    known = load_bundle(base).table.names
    assert known == tuple(sorted(KNOWN))
    assert bundle.table.names == tuple(names)
    said = bundle.training_data["from"]
    assert said["name"] == "heads" and said["training_data"] == load_bundle(base).training_data
    for name, value in after.items():
        kept = [row for row, landmark in enumerate(names) if landmark in known]
        old = [known.index(names[row]) for row in kept]
        by_landmark = name.rpartition(".")[2] in ("codes", "log_deviations") or "presence" in name
        expected, given = (before[name][old], value[kept]) if by_landmark else (before[name], value)
        torch.testing.assert_close(given, expected, rtol=0, atol=2e-3)


class Stopping(L.Callback):
    """Stops a training in its second epoch of the fine network, as Ctrl-C does."""

    def on_train_batch_start(self, trainer: L.Trainer, module: L.LightningModule, *_: object) -> None:
        if trainer.current_epoch == 1 and module.title.startswith("Training refine"):  # type: ignore[union-attr,operator]
            raise KeyboardInterrupt


def test_a_run_from_a_model_that_is_stopped_ends_as_one_that_is_not(
    heads_config: LocateRefineConfig, tmp_path: Path
) -> None:
    base = train(heads_config, tmp_path / "base", device=CPU)
    config = changed(heads_config, training={"base": base, "epochs": 4, "seed": 8})
    whole = train(config, tmp_path / "whole", device=CPU)
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        train(config, tmp_path / "run", device=CPU, callbacks=[Stopping()])
    model = train(config, tmp_path / "run", device=CPU)
    assert same_weights(whole, model) and not same_weights(whole, base)
    other = train(changed(config, training={"seed": 9}), tmp_path / "other", device=CPU)
    assert not same_weights(whole, other)


def test_a_run_does_not_go_on_when_its_model_has_become_another(
    a_config: DenseConfig, tmp_path: Path
) -> None:
    base = train(changed(a_config, training={"epochs": 1}), tmp_path / "base", device=CPU)
    config = changed(a_config, training={"base": base, "epochs": 1})
    train(config, tmp_path / "run", device=CPU)
    save_bundle(load_bundle(base), {name: 2 * value for name, value in load_weights(base).items()}, base)
    with pytest.raises(InputError, match=r"have changed since .*, or the model that it goes on from"):
        train(config, tmp_path / "run", device=CPU)


def test_keys_in_which_a_configuration_differs_from_the_model_are_named(
    heads_config: LocateRefineConfig, tmp_path: Path
) -> None:
    base = train(heads_config, tmp_path / "base", device=CPU)
    config = changed(
        heads_config,
        training={"base": base},
        image={"spacing": 1.25, "high": 99.0},
        locate={"channels": (8, 16)},
        refine={"spacing": 1.5},
    )
    with pytest.raises(InputError) as caught:
        train(config, tmp_path / "run", device=CPU)
    assert not (tmp_path / "run/config.yaml").exists()
    assert str(caught.value) == (
        f"{base}: image.spacing is 1.0 in the model and 1.25 in the configuration; image.high is 99.5 in the "
        "model and 99.0 in the configuration; locate.channels is [8, 8] in the model and [8, 16] in the "
        "configuration; refine.spacing is 1.0 in the model and 1.5 in the configuration; give the "
        "configuration what the model has, or write one with `train_cli plan --from`."
    )


@pytest.mark.parametrize("engine", ["dense", "locate-refine"])
def test_a_plan_from_a_model_agrees_with_it_and_takes_a_tenth_of_the_steps(
    a_config: DenseConfig, heads_config: LocateRefineConfig, tmp_path: Path, engine: str
) -> None:
    rows = LandmarkTable.from_names(KNOWN).with_pairs([0, 2, 1, 3, 4, 5]).landmarks
    table = LandmarkTable(tuple(replace(row, group="ears" if row.pair else "") for row in rows))
    write_table(table, tmp_path / "heads/landmarks.csv")
    config: Any = heads_config
    if engine == "dense":
        config = changed(a_config, data={"train": heads_config.data.train, "val": None})
    config = changed(config, image={"spacing": 1.1, "high": 99.0})
    base = train(config, tmp_path / "base", device=CPU)
    split = write_heads(tmp_path / "new", "new", 3, NAMES["more"], seed=1)
    options: dict[str, Any] = {"name": "new", "device": CPU, "hours": None, "seed": 0}
    anew = make_plan(split, None, tmp_path / "anew.yaml", engine=engine, **options).config.training.epochs
    plan = make_plan(split, None, tmp_path / "new.yaml", engine=None, base=base, **options)
    assert plan.config.engine == engine and plan.config.training.base == base
    assert plan.config.image == config.image
    assert plan.config.training.epochs == pytest.approx(anew / 10, abs=1.5)
    ears = {row.name: (row.pair, row.group) for row in plan.table.landmarks if row.pair}
    assert ears == {"ear left": ("ear right", "ears"), "ear right": ("ear left", "ears")}
    assert "knows 6 of the 7 landmarks and 0 others" in plan.reasons[0]
    assert plan.config.data.landmarks is not None
    write_table(plan.table, plan.config.data.landmarks)
    write_config(plan.config, tmp_path / "new.yaml", header="")
    short = ("training.epochs=2", "training.steps_per_epoch=1", "training.workers=0")
    model = train(read_config(tmp_path / "new.yaml", short), tmp_path / "run", device=CPU)
    assert load_bundle(model).preparation == load_bundle(base).preparation
    with pytest.raises(InputError, match="this model is of the engine"):
        other = "dense" if engine == "locate-refine" else "locate-refine"
        make_plan(split, None, tmp_path / "new.yaml", engine=other, base=base, **options)


def test_a_configuration_that_begins_anew_takes_a_tenth_of_its_epochs_from_a_model(
    a_config: DenseConfig, tmp_path: Path
) -> None:
    path, model = tmp_path / "config.yaml", tmp_path / "model"
    write_config(changed(a_config, training={"epochs": 80, "validate_every": 8}), path, header="")
    config = read_config(path, (), model)
    assert (config.training.epochs, config.training.base) == (8, model.resolve())
    assert config.training.validate_every == 1
    assert config.training.learning_rate == pytest.approx(a_config.training.learning_rate / 3, rel=0.01)
    assert read_config(path, ("training.epochs=30",), model).training.epochs == 30
    write_config(config, path, header="")
    assert read_config(path) == config
    again = read_config(path, (), tmp_path / "other")
    assert (again.training.epochs, again.training.base) == (8, (tmp_path / "other").resolve())


def test_folds_from_a_model_that_has_seen_the_cases_say_so_once_and_are_calibrated_on_them(
    a_config: DenseConfig, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = changed(a_config, data={"val": None}, training={"epochs": 1})
    base = train(config, tmp_path / "base", device=CPU)
    cross_validate(changed(config, training={"base": base}), tmp_path / "run", 3, device=CPU)
    (said,) = [record.getMessage() for record in caplog.records if "trained on" in record.getMessage()]
    assert (
        "The model small, from which the training goes on, was trained on 3 of the 3 validation cases" in said
    )


def test_a_calibration_is_not_kept_and_it_is_said(
    a_config: DenseConfig, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = changed(a_config, data={"val": None}, training={"epochs": 1})
    base = train(config, tmp_path / "base", device=CPU)
    calibrated = replace(load_bundle(base), calibration=Calibration(0.9, (Level(1.0, 40, 3.0, {}),)))
    save_bundle(calibrated, load_weights(base), base)
    model = train(changed(config, training={"base": base}), tmp_path / "run", device=CPU)
    assert load_bundle(model).calibration is None
    assert "The model small is calibrated, small is not: the old error radii do not hold" in caplog.text
