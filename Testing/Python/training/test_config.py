"""The configuration file: written, read, edited by people, and refused in one sentence."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from LandmarkDetectionLib.data.errors import InputError
from LandmarkDetectionLib.detection.dense import DenseSettings
from LandmarkDetectionLib.training.config import read_config, write_config
from LandmarkDetectionLib.training.dense.config import DenseConfig
from LandmarkDetectionLib.training.engines import ENGINES
from LandmarkDetectionLib.training.sections import Section

BY_HAND = """\
version: 1
name: Schädel
engine: dense
data: {train: Übung/train.csv, val: null, landmarks: ../landmarks.csv, cache: cache}
image: {spacing: 0.2, normaliser: adaptive, low: 0.5, high: 99.5}
target: {positive: 0.6, negative: 1.2}
sampling: {crop: [64, 48, 16], landmark_fraction: 0.7, padding: minimum}
augmentation:
  rotation: 15
  scale: 0.15
  shear: 0.05
  mirror: false
  elastic: 0.3
  elastic_spacing: 3.2
  elastic_amplitude: 0.6
  noise: 0.1
  gamma: 0.3
  contrast: 0.1
  motion: 0.1
  motion_shift: 2
network: {channels: [16, 32, 64], blocks: [2, 3, 2, 1], groups: 8}
loss: {gamma: 2, background_weight: 1}
training:
  epochs: 45
  steps_per_epoch: 50
  batch: 2
  accumulate: 1
  learning_rate: 2e-3
  weight_decay: 1e-4
  warmup: 100
  gradient_clip: 5
  precision: auto
  ema: 0.995
  validate_every: 4
  patience: 0
  workers: 1
  seed: 0
detection: {threshold: 0.5, uncertain: 0.2, overlap: 0.25}
"""


@pytest.fixture
def by_hand(tmp_path: Path) -> Path:
    """A configuration as a person writes it, with accents, paths and no comment."""
    path = tmp_path / "Modèle 1" / "config.yaml"
    path.parent.mkdir()
    path.write_text(BY_HAND, encoding="utf-8")
    return path


def read_dense(path: Path, overrides: tuple[str, ...] = ()) -> DenseConfig:
    config = read_config(path, overrides)
    assert isinstance(config, DenseConfig)
    return config


def refusal(path: Path, *overrides: str) -> str:
    with pytest.raises(InputError) as caught:
        read_config(path, overrides)
    sentence = str(caught.value)
    assert sentence.endswith(".")
    assert "\n" not in sentence
    assert len(sentence) < 300
    return sentence


def edited(path: Path, key: str, value: Any) -> Path:
    """The file with one value changed; `...` removes the key."""
    content = yaml.safe_load(BY_HAND)
    *sections, last = key.split(".")
    target = content
    for section in sections:
        target = target[section]
    if value is ...:
        del target[last]
    else:
        target[last] = value
    path.write_text(yaml.safe_dump(content, allow_unicode=True), encoding="utf-8")
    return path


def fields(section: type[BaseModel]) -> Iterator[tuple[str, Any]]:
    for name, field in section.model_fields.items():
        yield f"{section.__name__}.{name}", field
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            yield from fields(field.annotation)


def test_what_is_written_is_read(by_hand: Path, tmp_path: Path) -> None:
    config = read_config(by_hand)
    for name in ("config.yaml", "another folder/run é/config.yaml"):
        write_config(config, tmp_path / name, header="Why it is so.\nAnd a second line: # with signs")
        assert read_config(tmp_path / name) == config


TEXT = st.text(st.characters(blacklist_categories=("Cs", "Cc"), blacklist_characters="\x00/\\"), min_size=1)


@given(
    name=TEXT,
    folder=TEXT.filter(lambda text: set(text) != {"."}),
    number=st.floats(1e-9, 1e9),
    seed=st.integers(0, 2**32 - 1),
)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_name_path_and_number_survives(
    by_hand: Path, name: str, folder: str, number: float, seed: int
) -> None:
    config = read_dense(by_hand)
    config = config.model_copy(
        update={
            "name": name,
            "data": config.data.model_copy(update={"val": by_hand.parent / folder / "val.csv"}),
            "loss": config.loss.model_copy(update={"background_weight": number}),
            "training": config.training.model_copy(update={"seed": seed}),
        }
    )
    write_config(config, by_hand.with_name("again.yaml"), header="")
    assert read_config(by_hand.with_name("again.yaml")) == config


def test_every_key_has_its_meaning_beside_it(by_hand: Path) -> None:
    described = {name: field for engine in ENGINES.values() for name, field in fields(engine.config)}
    assert len(described) > 50
    assert not [name for name, field in described.items() if not field.description]
    write_config(read_config(by_hand), by_hand, header="why")
    first, *lines = by_hand.read_text(encoding="utf-8").splitlines()
    assert first == "# why"
    assert sum("  # " in line for line in lines) == len([line for line in lines if line])


def test_paths_are_relative_to_the_file_and_travel_with_it(by_hand: Path, tmp_path: Path) -> None:
    data = read_config(by_hand).data
    assert data.train == by_hand.parent.resolve() / "Übung" / "train.csv"
    assert data.landmarks == tmp_path.resolve() / "landmarks.csv"
    assert data.val is None
    write_config(read_config(by_hand), by_hand, header="")
    assert "train: Übung/train.csv" in by_hand.read_text(encoding="utf-8")
    moved = tmp_path / "server" / "Modèle 1"
    moved.parent.mkdir()
    by_hand.parent.rename(moved)
    assert read_config(moved / "config.yaml").data.train == moved.resolve() / "Übung" / "train.csv"


def test_paths_typed_relative_to_the_folder_one_stands_in_are_kept(
    by_hand: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = read_config(by_hand)
    typed = config.model_copy(
        update={"data": config.data.model_copy(update={"train": Path("splits/train.csv")})}
    )
    write_config(typed, Path("plans/config.yaml"), header="")
    assert read_config(Path("plans/config.yaml")).data.train == tmp_path.resolve() / "splits" / "train.csv"


def test_a_folder_under_another_name_is_the_same_folder(by_hand: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(by_hand.parent)
    config = read_config(by_hand)
    linked = config.model_copy(
        update={"data": config.data.model_copy(update={"train": tmp_path / "link" / "a.csv"})}
    )
    write_config(linked, tmp_path / "link" / "config.yaml", header="")
    assert "train: a.csv" in by_hand.read_text(encoding="utf-8")


def test_a_file_from_an_editor_on_windows_is_read(by_hand: Path) -> None:
    expected = read_config(by_hand)
    by_hand.write_bytes(b"\xef\xbb\xbf" + BY_HAND.replace("\n", "\r\n").encode())
    assert read_config(by_hand) == expected


def test_set_changes_a_value(by_hand: Path) -> None:
    config = read_dense(
        by_hand,
        (
            "training.epochs=3",
            "augmentation.mirror=0.5",
            "name='Kiefer: é'",
            "sampling.crop=[16, 20, 24]",
            "data.fold=2/5",
            "data.val=val.csv",
            "training.learning_rate=1e-4",
        ),
    )
    assert (config.training.epochs, config.augmentation.mirror, config.name) == (3, 0.5, "Kiefer: é")
    assert config.sampling.crop == (16, 20, 24)
    assert config.data.fold == "2/5"
    assert config.data.val == by_hand.parent.resolve() / "val.csv"
    assert config.training.learning_rate == 1e-4


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("training.epoch", 3, "the key 'training.epoch' is not known"),
        ("colour", "red", "the key 'colour' is not known"),
        ("training.epochs", ..., "the key 'training.epochs' is missing"),
        ("image", ..., "the key 'image' is missing"),
        ("training.epochs", 0, "'training.epochs' is 0"),
        ("training.epochs", 1.5, "'training.epochs' is 1.5"),
        ("training.epochs", "many", "'training.epochs' is 'many'"),
        ("training.seed", -1, "'training.seed' is -1"),
        ("training.precision", "fp8", "'training.precision' is 'fp8'"),
        ("image", 3, "'image' is 3"),
        ("image.spacing", -0.2, "'image.spacing' is -0.2"),
        ("image.spacing", float("nan"), "'image.spacing' is nan"),
        ("image.high", float("inf"), "'image.high' is inf"),
        ("image.high", 0.1, "image: the window's low end"),
        ("image.high", 101, "image: an adaptive window"),
        ("target.positive", 9, "target: negative (1.2) must not be smaller than positive (9.0)"),
        ("sampling.crop", [64, 64], "'sampling.crop' is [64, 64], which is too short"),
        ("sampling.crop", [64, 64, 64, 64], "'sampling.crop' is [64, 64, 64, 64]"),
        ("sampling.crop", [64, 64, 30], "'sampling.crop' is 30, but input should be a multiple of 4"),
        ("augmentation.elastic_amplitude", 1.3, "augmentation: elastic_amplitude (1.3) must be at most 0.4"),
        ("augmentation.elastic_spacing", 0.01, "elastic_spacing (0.01)"),
        ("augmentation.scale", 1, "'augmentation.scale' is 1"),
        ("augmentation.shear", 0.5, "'augmentation.shear' is 0.5"),
        ("augmentation.rotation", 181, "'augmentation.rotation' is 181"),
        ("network.groups", 5, "network: channels [16, 32, 64] must be multiples of groups (5)"),
        ("detection.uncertain", 0.6, "detection: uncertain (0.6) must not exceed threshold (0.5)"),
        ("detection.uncertain", 0.0, "'detection.uncertain' is 0.0"),
        ("version", 2, "'version' is 2"),
        ("engine", "magic", "the engine is 'magic'; write locate-refine or dense"),
        ("name", "", "'name' is ''"),
        ("name", 7, "'name' is 7"),
        ("data.train", None, "'data.train' is None"),
        ("data.fold", "second", "'data.fold' is 'second'"),
    ],
)
def test_a_wrong_value_is_named_with_its_file(by_hand: Path, key: str, value: Any, words: str) -> None:
    sentence = refusal(edited(by_hand, key, value))
    assert str(by_hand) in sentence
    assert words in sentence


def test_a_fine_warp_with_few_voxels_between_its_points_is_refused(by_hand: Path) -> None:
    small = ("augmentation.elastic_spacing=0.1", "augmentation.elastic_amplitude=0.01")
    assert "augmentation.elastic_spacing (0.1) must not be smaller than image.spacing (0.2)" in refusal(
        by_hand, *small
    )
    assert read_config(by_hand, (*small, "augmentation.elastic=0")), "unless there is no warp"


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("training.epochs", "write section.key=value"),
        ("training.epochs.more=3", "write section.key=value"),
        ("tarining.epochs=3", "write section.key=value, perhaps training.epochs."),
        ("train.crop=3", "perhaps sampling.crop."),
        ("=3", "is not known"),
        ("training.epoch=3", "'training.epoch' is not known, perhaps training.epochs; correct"),
        ("training.epochs=-1", "'training.epochs' is -1"),
        ("sampling.crop=[16", "not valid YAML"),
        ("training=3", "'training' is 3"),
    ],
)
def test_a_wrong_set_is_named(by_hand: Path, override: str, words: str) -> None:
    sentence = refusal(by_hand, override)
    assert f"--set {override}" in sentence
    assert words in sentence


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "this is no configuration"),
        (b"- a\n- list\n", "this is no configuration"),
        (b"name: [1, 2\nversion: 1\n", "line 2: this is not valid YAML"),
        (b"name: \xff\xfe\n", "not UTF-8 text"),
        (b"name: !!python/object/apply:os.getcwd []\n", "this is not valid YAML"),
    ],
)
def test_a_file_that_is_no_configuration_is_refused(by_hand: Path, content: bytes, words: str) -> None:
    by_hand.write_bytes(content)
    sentence = refusal(by_hand)
    assert str(by_hand) in sentence
    assert words in sentence


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    assert "there is no such configuration" in refusal(tmp_path / "config.yaml")


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 0.99))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_the_configuration_allows_the_detector_takes(
    by_hand: Path, threshold: float, uncertain: float, overlap: float
) -> None:
    chosen = tuple(
        f"detection.{key}={value!r}"
        for key, value in (("threshold", threshold), ("uncertain", uncertain), ("overlap", overlap))
    )
    try:
        detection = read_dense(by_hand, chosen).detection
    except InputError:
        return
    DenseSettings(
        window=(16, 16, 16),
        overlap=detection.overlap,
        threshold=detection.threshold,
        uncertain=detection.uncertain,
    )
