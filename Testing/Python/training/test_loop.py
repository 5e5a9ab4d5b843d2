"""A whole training run on a data set of three cases."""

import errno
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pandas as pd
import pytest
import torch
from torch.utils.data import Sampler, TensorDataset

from LandmarkDetectionLib.data.errors import InputError
from LandmarkDetectionLib.data.landmark_files import read_landmarks, write_landmarks
from LandmarkDetectionLib.data.landmarks import LandmarkSet
from LandmarkDetectionLib.data.table import LandmarkTable, write_table
from LandmarkDetectionLib.data.volume import read_volume
from LandmarkDetectionLib.detection.detector import load_detector
from LandmarkDetectionLib.model.bundle import load_bundle
from LandmarkDetectionLib.training.config import read_config, write_config
from LandmarkDetectionLib.training.dense.config import DenseConfig
from LandmarkDetectionLib.training.running.checkpoints import summarise
from LandmarkDetectionLib.training.running.loop import Loader, check_run_folder, precision_of, train
from LandmarkDetectionLib.training.running.processes import started_processes
from LandmarkDetectionLib.training.sections import Section

CPU = torch.device("cpu")
ROOT = Path(__file__).parents[3]
FOUR = TensorDataset(torch.arange(4))


def changed(config: DenseConfig, **sections: dict[str, Any]) -> DenseConfig:
    content = config.model_dump()
    for section, values in sections.items():
        content[section] |= values
    return DenseConfig.model_validate(content)


def same_weights(one: Path, other: Path) -> bool:
    return (one / "weights.safetensors").read_bytes() == (other / "weights.safetensors").read_bytes()


def test_a_run_leaves_all_that_was_promised(a_config: DenseConfig, tmp_path: Path) -> None:
    bundle = train(a_config, tmp_path / "run", device=CPU)
    assert read_config(tmp_path / "run" / "config.yaml") == a_config
    assert {path.name for path in (tmp_path / "run" / "checkpoints").iterdir()} == {"last.ckpt", "best.ckpt"}
    metrics = pd.read_csv(tmp_path / "run" / "metrics.csv")
    assert metrics["epoch"].tolist() == [1, 2, 3] and metrics["step"].tolist() == [4, 8, 12]
    assert metrics[["train_loss", "val_score", "val_found"]].notna().all(axis=None)
    assert list((tmp_path / "run" / "tensorboard").glob("events*"))
    description = load_bundle(bundle)
    assert description.table.names == ("bright", "dark", "far")
    assert description.training_data["training_cases"] == 3
    assert np.isfinite(description.shape.mean).all()


def test_the_bundle_detects_in_a_scan(a_config: DenseConfig, tmp_path: Path) -> None:
    detector = load_detector(train(a_config, tmp_path / "run", device=CPU), CPU)
    told: list[tuple[str, float]] = []
    detections = detector.detect(
        read_volume(tmp_path / "val0.nii.gz"), progress=lambda stage, fraction: told.append((stage, fraction))
    )
    assert [detection.name for detection in detections] == ["bright", "dark", "far"]
    assert told[-1] == ("detect", 1.0)


def test_training_teaches(a_config: DenseConfig, tmp_path: Path) -> None:
    config = changed(a_config, training={"epochs": 6, "steps_per_epoch": 30, "validate_every": 6})
    train(config, tmp_path / "run", device=CPU)
    metrics = pd.read_csv(tmp_path / "run" / "metrics.csv").iloc[-1]
    assert metrics["val_found"] > 0.7
    assert metrics["val_median_mm"] < 1.0


def test_the_same_seed_gives_the_same_weights_whoever_prepares_the_crops(
    a_config: DenseConfig, tmp_path: Path
) -> None:
    one = train(a_config, tmp_path / "one", device=CPU)
    two = train(changed(a_config, training={"workers": 2}), tmp_path / "two", device=CPU)
    other = train(changed(a_config, training={"seed": 4}), tmp_path / "other", device=CPU)
    assert same_weights(one, two)
    assert not same_weights(one, other)


def test_a_run_killed_again_and_again_ends_with_the_same_weights(
    a_config: DenseConfig, tmp_path: Path
) -> None:
    config = changed(a_config, training={"epochs": 5})
    write_config(config, tmp_path / "config.yaml", header="")
    whole = train(config, tmp_path / "whole", device=CPU)
    run = tmp_path / "killed"
    command = [
        sys.executable,
        "-m",
        "train_cli",
        "train",
        str(tmp_path / "config.yaml"),
        "--output",
        str(run),
        "--quiet",
    ]
    environment = os.environ | {"OMP_NUM_THREADS": str(torch.get_num_threads())}

    def state() -> tuple[int, ...]:
        files = (run / "checkpoints" / "best.ckpt", run / "checkpoints" / "last.ckpt", run / "metrics.csv")
        return tuple(file.stat().st_mtime_ns if file.exists() else 0 for file in files)

    kills = 0
    for moment in ("best", "last"):
        before = state()
        process = subprocess.Popen([*command, "--device", "cpu"], cwd=ROOT, env=environment)
        while process.poll() is None and (
            state()[0] == before[0] if moment == "best" else state()[1] == before[1]
        ):
            time.sleep(0.001)
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
            kills += 1
        process.wait()
    assert kills == 2
    subprocess.run([*command, "--device", "cpu"], cwd=ROOT, env=environment, check=True)
    assert same_weights(whole, run / "model")
    pd.testing.assert_frame_equal(
        pd.read_csv(run / "metrics.csv"), pd.read_csv(tmp_path / "whole" / "metrics.csv")
    )


def test_a_finished_run_started_again_keeps_its_model(a_config: DenseConfig, tmp_path: Path) -> None:
    first = train(a_config, tmp_path / "run", device=CPU)
    weights = (first / "weights.safetensors").read_bytes()
    assert (train(a_config, tmp_path / "run", device=CPU) / "weights.safetensors").read_bytes() == weights


@pytest.fixture
def heeds_interrupts() -> Iterator[None]:
    """Ctrl-C has its effect, even where the tests run in a shell's background, in which it has none."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.skipif(
    multiprocessing.get_start_method() != "fork", reason="a spawned worker has no handlers yet"
)
def test_a_signal_cannot_reach_a_worker_while_it_starts(heeds_interrupts: None) -> None:
    before = signal.getsignal(signal.SIGINT)
    loader = Loader(FOUR, num_workers=1, worker_init_fn=_interrupt_itself)
    assert [int(item) for (item,) in loader] == [0, 1, 2, 3]
    assert signal.getsignal(signal.SIGINT) is before


def test_a_stop_while_workers_start_ends_them(heeds_interrupts: None) -> None:
    loader = Loader(FOUR, sampler=_Interrupting(), num_workers=2, persistent_workers=True)
    with pytest.raises(KeyboardInterrupt):
        iter(loader)
    assert loader._iterator is None and not multiprocessing.active_children()


def _interrupt_itself(worker: int) -> None:
    os.kill(os.getpid(), signal.SIGINT)


class _Interrupting(Sampler[int]):
    """Asked for its first place when the workers have been started."""

    def __iter__(self) -> Iterator[int]:
        signal.raise_signal(signal.SIGINT)
        return iter(range(4))

    def __len__(self) -> int:
        return 4


def test_a_loss_that_is_no_number_ends_a_run(a_config: DenseConfig, tmp_path: Path) -> None:
    training = a_config.training.model_copy(update={"learning_rate": 1e30, "warmup": 1})
    with pytest.raises(InputError, match=r"the loss is nan after epoch \d+, .*learning_rate lower"):
        train(a_config.model_copy(update={"training": training}), tmp_path / "run", device=CPU)
    assert not (tmp_path / "run" / "model").exists()


def test_early_stop_ends_a_run_and_holds_when_started_again(a_config: DenseConfig, tmp_path: Path) -> None:
    config = changed(a_config, training={"epochs": 40, "learning_rate": 1e-9, "patience": 2, "ema": 0})
    train(config, tmp_path / "run", device=CPU)
    rows = len(pd.read_csv(tmp_path / "run" / "metrics.csv"))
    assert rows == 3
    train(config, tmp_path / "run", device=CPU)
    assert len(pd.read_csv(tmp_path / "run" / "metrics.csv")) == rows


def test_another_configuration_in_the_same_run_folder_is_refused(
    a_config: DenseConfig, tmp_path: Path
) -> None:
    train(a_config, tmp_path / "run", device=CPU)
    with pytest.raises(InputError, match=r"another configuration \(loss\.gamma was .*, not 1\.0\)"):
        train(changed(a_config, loss={"gamma": 1.0}), tmp_path / "run", device=CPU)


def keys_of(section: Section, within: str = "") -> Iterator[str]:
    for key, value in section:
        if isinstance(value, Section):
            yield from keys_of(value, f"{within}{key}.")
        else:
            yield within + key


def with_another(section: Any, key: str) -> Any:
    """The configuration with another value of a key, whatever that may be."""
    first, _, rest = key.partition(".")
    value = with_another(getattr(section, first), rest) if rest else "another"
    return section.model_copy(update={first: value})


@pytest.mark.filterwarnings("ignore:Pydantic serializer")
def test_every_key_that_is_another_in_a_run_folder_is_named(a_config: DenseConfig, tmp_path: Path) -> None:
    write_config(a_config, tmp_path / "config.yaml", header="")
    keys = list(keys_of(a_config))
    assert {"name", "data.val", "training.base", "augmentation.bias", "network.blocks"} < set(keys)
    for key in keys:
        with pytest.raises(InputError, match=rf"another configuration \({key} was .*, not another\); give"):
            check_run_folder(with_another(a_config, key), tmp_path)
    several = with_another(with_another(a_config, "image.spacing"), "training.seed")
    said = r"\(image\.spacing was 1\.0, not another, training\.seed was 3, not another\)"
    with pytest.raises(InputError, match=said):
        check_run_folder(several, tmp_path)


def test_a_run_whose_landmarks_have_been_corrected_since_is_refused(
    a_config: DenseConfig, tmp_path: Path
) -> None:
    train(a_config, tmp_path / "run", device=CPU)
    corrected = read_landmarks(tmp_path / "train0.mrk.json")
    write_landmarks(LandmarkSet(corrected.names, corrected.positions + 1), tmp_path / "train0.mrk.json")
    with pytest.raises(InputError, match="the cases have changed"):
        train(a_config, tmp_path / "run", device=CPU)


def test_a_run_that_was_refused_leaves_its_folder_free(a_config: DenseConfig, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="fp16"):
        train(changed(a_config, training={"precision": "fp16"}), tmp_path / "run", device=CPU)
    assert train(changed(a_config, training={"epochs": 1}), tmp_path / "run", device=CPU).is_dir()


def test_validation_cases_without_landmarks_are_refused(a_config: DenseConfig, tmp_path: Path) -> None:
    for path in tmp_path.glob("val*.mrk.json"):
        landmarks = read_landmarks(path)
        write_landmarks(LandmarkSet(landmarks.names, landmarks.positions * np.nan), path)
    with pytest.raises(InputError, match=r"val\.csv: no validation case has a landmark"):
        train(a_config, tmp_path / "run", device=CPU)


def test_two_landmarks_make_a_model(a_config: DenseConfig, tmp_path: Path) -> None:
    for path in tmp_path.glob("*.mrk.json"):
        landmarks = read_landmarks(path)
        write_landmarks(LandmarkSet(landmarks.names[:2], landmarks.positions[:2]), path)
    bundle = train(changed(a_config, training={"epochs": 1}), tmp_path / "run", device=CPU)
    assert load_bundle(bundle).table.names == ("bright", "dark")
    assert load_detector(bundle, CPU).detect(read_volume(tmp_path / "val0.nii.gz"))


def test_a_model_that_finds_nothing_yet_has_a_description_in_plain_json(
    a_config: DenseConfig, tmp_path: Path
) -> None:
    strict = changed(a_config, training={"epochs": 1}, detection={"threshold": 0.999, "uncertain": 0.999})
    bundle = train(strict, tmp_path / "run", device=CPU)
    text = (bundle / "model.json").read_text(encoding="utf-8")
    assert json.loads(text)["metrics"]["validation"]["val_mre_mm"] is None
    assert "NaN" not in text


@pytest.mark.parametrize(
    ("started", "expected"),
    [
        ({}, (1, 1)),
        ({"LOCAL_WORLD_SIZE": "2", "WORLD_SIZE": "6"}, (2, 3)),
        (
            {"SLURM_STEP_NUM_TASKS": "8", "SLURM_STEP_NUM_NODES": "2", "SLURM_NTASKS_PER_NODE": "4"},
            (4, 2),
        ),
        ({"SLURM_NTASKS": "8", "SLURM_NTASKS_PER_NODE": "8", "SLURM_NNODES": "1"}, (1, 1)),
    ],
)
def test_processes_are_those_that_torchrun_or_slurm_started(
    monkeypatch: pytest.MonkeyPatch, started: dict[str, str], expected: tuple[int, int]
) -> None:
    for name in [name for name in os.environ if name.startswith(("SLURM", "LOCAL_WORLD", "WORLD_SIZE"))]:
        monkeypatch.delenv(name)
    for name, value in started.items():
        monkeypatch.setenv(name, value)
    assert started_processes() == expected


def test_tasks_that_slurm_does_not_count_by_node_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("SLURM_NTASKS_PER_NODE", raising=False)
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "4")
    with pytest.raises(InputError, match="--ntasks-per-node"):
        started_processes()


def test_a_landmark_that_no_training_case_speaks_of_is_refused(a_config: DenseConfig, tmp_path: Path) -> None:
    for path in tmp_path.glob("train*.mrk.json"):
        landmarks = read_landmarks(path)
        write_landmarks(LandmarkSet(landmarks.names[:2], landmarks.positions[:2]), path)
    write_table(LandmarkTable.from_names(["bright", "dark", "far"]), tmp_path / "landmarks.csv")
    with pytest.raises(InputError, match=r"train\.csv: no training case speaks of far"):
        train(a_config, tmp_path / "run", device=CPU)


def test_a_fold_validates_on_what_it_does_not_train_on(a_config: DenseConfig, tmp_path: Path) -> None:
    facts = []
    for number in (1, 2):
        config = changed(a_config, data={"fold": f"{number}/2"}, training={"epochs": 1})
        facts.append(load_bundle(train(config, tmp_path / f"fold{number}", device=CPU)).training_data)
    assert all(fact["training_cases"] + fact["validation_cases"] == 5 for fact in facts)
    assert sum(fact["validation_cases"] for fact in facts) == 5


def test_two_accumulated_batches_make_one_step(a_config: DenseConfig, tmp_path: Path) -> None:
    once = {"epochs": 1, "steps_per_epoch": 3, "batch": 1}
    twice = train(changed(a_config, training=once | {"accumulate": 2}), tmp_path / "twice", device=CPU)
    plain = train(changed(a_config, training=once), tmp_path / "plain", device=CPU)
    assert pd.read_csv(tmp_path / "twice" / "metrics.csv")["step"].tolist() == [3]
    assert not same_weights(twice, plain)


def test_half_precision_on_a_cpu_is_refused(a_config: DenseConfig) -> None:
    with pytest.raises(InputError, match=r"training\.precision is fp16"):
        precision_of(changed(a_config, training={"precision": "fp16"}), CPU)
    assert precision_of(changed(a_config, training={"precision": "off"}), CPU) == "32-true"
    assert precision_of(changed(a_config, training={"precision": "bf16"}), CPU) == "bf16-mixed"


def test_summary_counts_a_missed_landmark_as_the_cap() -> None:
    errors = np.array([[0.5, np.nan], [np.inf, 9.0]])
    summary = summarise(errors, cap=4.0)
    assert summary["val_found"] == pytest.approx(2 / 3)
    assert summary["val_mre_mm"] == pytest.approx(4.75)
    assert summary["val_score"] == pytest.approx((0.5 + 4 + 4) / 3)


@pytest.mark.skipif(torch.cuda.is_available(), reason="with a GPU, the test below does it for real")
def test_checkpoints_with_the_tensors_of_a_gpu_go_on_where_there_is_none(
    a_config: DenseConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file of a GPU differs in one thing: every tensor is marked to belong on `cuda:0`."""
    with monkeypatch.context() as gpu:
        gpu.setattr("torch.serialization.location_tag", lambda _: "cuda:0")
        first = train(a_config, tmp_path / "run", device=CPU)
    with pytest.raises(RuntimeError, match="CUDA"):
        torch.load(tmp_path / "run/checkpoints/last.ckpt", weights_only=False)
    weights = (first / "weights.safetensors").read_bytes()
    again = train(a_config, tmp_path / "run", device=CPU)
    assert (again / "weights.safetensors").read_bytes() == weights


@pytest.mark.gpu
def test_checkpoints_and_bundles_pass_between_gpu_and_cpu(a_config: DenseConfig, tmp_path: Path) -> None:
    gpu = torch.device("cuda:0")
    short = changed(a_config, training={"epochs": 1})
    for made, used in ((gpu, CPU), (CPU, gpu)):
        run = tmp_path / made.type
        bundle = train(short, run, device=made)
        assert load_detector(bundle, used).detect(read_volume(tmp_path / "val0.nii.gz"))
        train(short, run, device=used)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:3000])


def test_a_damaged_checkpoint_falls_back_to_the_one_before_and_says_so(
    a_config: DenseConfig, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole = train(a_config, tmp_path / "whole", device=CPU)
    shutil.copytree(tmp_path / "whole", tmp_path / "run")
    truncate(tmp_path / "run/checkpoints/last.ckpt")
    model = train(a_config, tmp_path / "run", device=CPU)
    assert "last.ckpt is damaged or missing: the training goes on from the epoch before." in caplog.text
    assert same_weights(whole, model)
    before, after = (pd.read_csv(tmp_path / name / "metrics.csv") for name in ("whole", "run"))
    pd.testing.assert_frame_equal(before, after)


@pytest.mark.parametrize(
    ("damaged", "words"),
    [
        (("checkpoints/last.ckpt", "previous.ckpt"), "last.ckpt: the checkpoint is damaged, and there is no"),
        (("checkpoints/best.ckpt",), "best.ckpt: the checkpoint is damaged or missing"),
    ],
)
def test_checkpoints_that_are_all_damaged_are_refused_and_the_cure_works(
    a_config: DenseConfig, tmp_path: Path, damaged: tuple[str, ...], words: str
) -> None:
    run = tmp_path / "run"
    model = train(a_config, run, device=CPU)
    whole = shutil.copytree(model, tmp_path / "whole")
    for name in damaged:
        truncate(run / name)
    with pytest.raises(InputError, match=words) as caught:
        train(a_config, run, device=CPU)
    delete = f"; delete {run / 'checkpoints'} and {run / 'previous.ckpt'} to train this network anew."
    assert str(caught.value).endswith(delete)
    shutil.rmtree(run / "checkpoints")
    (run / "previous.ckpt").unlink()
    assert same_weights(train(a_config, run, device=CPU), whole)
    assert len(pd.read_csv(run / "metrics.csv")) == 3


class Failing(L.Callback):
    """Ends a training in its second step."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def on_train_batch_start(self, trainer: L.Trainer, *_: object) -> None:
        if trainer.global_step == 1:
            raise self.error


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), "memory of the GPU ran out"),
        (MemoryError(), "memory of this machine ran out"),
        (OSError(errno.ENOSPC, "No space left on device"), "the disk is full"),
    ],
)
def test_what_the_machine_lacks_is_said(
    a_config: DenseConfig, tmp_path: Path, error: Exception, words: str
) -> None:
    with pytest.raises(InputError, match=words):
        train(a_config, tmp_path / "run", device=CPU, callbacks=[Failing(error)])


def test_an_error_of_ours_is_neither_a_stop_nor_the_machine(a_config: DenseConfig, tmp_path: Path) -> None:
    error = RuntimeError("mat1 and mat2 shapes cannot be multiplied")
    with pytest.raises(RuntimeError) as caught:
        train(a_config, tmp_path / "run", device=CPU, callbacks=[Failing(error)])
    assert caught.value is error


def test_a_loading_process_is_silent_about_a_trainer_that_is_gone_and_about_nothing_else() -> None:
    script = (
        "import sys; from LandmarkDetectionLib.training.running import loop; "
        "start = loop._leave_stopping_to_the_trainer; "
        "start(0); [sys.excepthook(type(e), e, None) for e in (EOFError('one'), BrokenPipeError('two'), "
        "ValueError('three'))]"
    )
    root = Path(__file__).parents[3]
    said = subprocess.run(
        [sys.executable, "-c", script], cwd=root, capture_output=True, text=True, check=True
    )
    assert said.stderr.strip() == "ValueError: three"
