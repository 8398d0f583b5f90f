"""`tunedeck verify` without a server: files against their manifest, the losses of two runs side by side."""

import json
from pathlib import Path
from typing import cast

import pytest
from typer.testing import CliRunner

from tunedeck_cli import artifact_files, replay
from tunedeck_cli.artifact_files import sha256_of
from tunedeck_cli.client import Client
from tunedeck_cli.errors import CommandFailed
from tunedeck_cli.main import app
from tunedeck_contracts.artifacts import MANIFEST, Environment, Evaluation, Losses, Manifest, ManifestFile
from tunedeck_contracts.estimates import BatchSplit
from tunedeck_contracts.hyperparameters import Hyperparameters
from tunedeck_contracts.jobs import CreateJob
from tunedeck_contracts.message import utc_now

CPU = Environment(
    python="3.11.7",
    platform="Linux x86_64 glibc 2.36",
    processor="A CPU (AVX2)",
    device="cpu",
    threads=2,
    packages={"torch": "2.13.0", "peft": "0.21.2"},
)
LOSSES = Losses(
    train=[2.0, 1.5, 1.25],
    evaluations=[Evaluation(step=0, validation_loss=2.25), Evaluation(step=3, validation_loss=1.375)],
)


def manifest(**more: object) -> Manifest:
    fields: dict[str, object] = {
        "job_uid": "job_1_aaaa",
        "method": "lora",
        "base_model": "local/tiny",
        "base_revision": "sha256:0",
        "dataset_uid": "dataset_1_a",
        "dataset_sha256": "0",
        "created_at": utc_now(),
        "packages": CPU.packages,
        "hyperparameters": Hyperparameters(),
        "environment": CPU,
        "losses": LOSSES,
        "files": [],
    }
    return Manifest.model_validate(fields | more)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "merged").mkdir()
    paths = ["adapter_model.safetensors", "merged/config.json"]
    for path in paths:
        (tmp_path / path).write_bytes(path.encode())
    files = [ManifestFile(path=path, size=len(path), sha256=sha256_of(tmp_path / path)) for path in paths]
    (tmp_path / MANIFEST).write_bytes(manifest(files=files).to_json())
    return tmp_path


def checked(folder: Path) -> artifact_files.FileCheck:
    return artifact_files.check(folder, artifact_files.read_manifest(folder))


def test_files_as_they_were_written_pass(folder: Path) -> None:
    assert checked(folder) == artifact_files.FileCheck(2, [], [], [])
    assert checked(folder).passed


def test_a_changed_and_a_missing_file_are_named_and_an_added_one_breaks_nothing(folder: Path) -> None:
    (folder / "adapter_model.safetensors").write_bytes(b"adapter_model.safetensorS")
    (folder / "notes.txt").write_text("mine")
    found = checked(folder)
    assert (found.changed, found.unlisted, found.passed) == (
        ["adapter_model.safetensors"],
        ["notes.txt"],
        False,
    )
    (folder / "merged/config.json").unlink()
    assert checked(folder).missing == ["merged/config.json"]


def test_a_manifest_that_names_no_file_proves_nothing(tmp_path: Path) -> None:
    (tmp_path / MANIFEST).write_bytes(manifest().to_json())
    assert not checked(tmp_path).passed


def test_the_command_says_by_its_exit_status_whether_the_files_are_right(folder: Path) -> None:
    arguments = ["verify", str(folder), "--files-only"]
    right = CliRunner().invoke(app, arguments)
    assert (right.exit_code, right.stdout.splitlines()) == (
        0,
        ["Files: 2 of 2 are as the manifest says.", "Verified."],
    )
    (folder / "merged/config.json").write_bytes(b"merged/config.jsoN")
    wrong = CliRunner().invoke(app, [*arguments, "--json"])
    told = json.loads(wrong.stdout)
    assert (wrong.exit_code, told["files"]["changed"], told["verified"]) == (1, ["merged/config.json"], False)


def test_a_manifest_that_names_a_file_outside_is_refused(folder: Path) -> None:
    written = json.loads((folder / MANIFEST).read_bytes())
    written["files"][0]["path"] = "../secret"
    (folder / MANIFEST).write_text(json.dumps(written))
    with pytest.raises(CommandFailed, match=r"names ../secret, which is outside"):
        checked(folder)


def test_a_folder_without_a_manifest_is_no_artifact(tmp_path: Path) -> None:
    with pytest.raises(CommandFailed, match="is no artifact of a job"):
        artifact_files.read_manifest(tmp_path)


def test_a_manifest_of_a_former_version_is_read_and_cannot_be_replayed() -> None:
    written = json.loads(manifest().to_json())
    for later in ("hyperparameters", "environment", "losses", "base_source", "result", "merge"):
        del written[later]
    with pytest.raises(CommandFailed, match="--files-only"):
        replay.check_replayable(Manifest.model_validate(written))


def test_the_same_losses_on_the_same_machine_pass_with_no_tolerance() -> None:
    again = manifest(
        job_uid="job_2_bbbb", losses=Losses(train=[2.0, 1.5], evaluations=LOSSES.evaluations[:1])
    )
    found = replay.compared(manifest(), "job_2_bbbb", again, 2, 1e-3)
    assert (found.tolerance, found.differences, found.passed) == (0.0, [], True)
    assert [(one.step, one.what) for one in found.losses] == [
        (0, "validation"),
        (1, "training"),
        (2, "training"),
    ]


def test_a_loss_that_differs_in_its_last_bit_is_seen_where_all_is_the_same() -> None:
    again = manifest(losses=Losses(train=[2.0, 1.5000000000000002], evaluations=LOSSES.evaluations[:1]))
    found = replay.compared(manifest(), "job_2_bbbb", again, 2, 1e-3)
    assert [one.step for one in found.losses if not one.agrees] == [2]
    assert not found.passed


@pytest.mark.parametrize(("second", "passed"), [(1.5001, True), (1.51, False)])
def test_on_another_machine_losses_may_differ_within_the_tolerance(second: float, passed: bool) -> None:
    other = CPU.model_copy(update={"threads": 4, "packages": {"torch": "2.14.0", "peft": "0.21.2"}})
    losses = Losses(train=[2.0, second], evaluations=LOSSES.evaluations[:1])
    whole = manifest(batch_split=BatchSplit(micro_batch_size=8, gradient_accumulation_steps=1))
    halved = BatchSplit(micro_batch_size=4, gradient_accumulation_steps=2)
    again = manifest(environment=other, losses=losses, batch_split=halved)
    found = replay.compared(whole, "job_2_bbbb", again, 2, 1e-3)
    assert [(one.what, one.recorded, one.replayed) for one in found.differences] == [
        ("batch split", "1 x 8 rows a step", "2 x 4 rows a step"),
        ("threads", "2", "4"),
        ("torch", "2.13.0", "2.14.0"),
    ]
    assert (found.tolerance, found.passed) == (1e-3, passed)


@pytest.mark.parametrize(
    ("changed", "what"),
    [
        ({"base_revision": "sha256:1"}, "base revision"),
        ({"dataset_sha256": "1"}, "dataset"),
        ({"hyperparameters": Hyperparameters(seed=1)}, "settings"),
    ],
)
def test_a_run_of_something_else_proves_nothing(changed: dict[str, object], what: str) -> None:
    found = replay.compared(manifest(), "job_2_bbbb", manifest(**changed), 2, 1e-3)
    assert [one.what for one in found.differences] == [what]
    assert not found.passed


def test_losses_on_a_gpu_need_not_be_equal() -> None:
    gpu = manifest(environment=CPU.model_copy(update={"device": "A GPU"}))
    assert replay.compared(gpu, "job_2_bbbb", gpu, 2, 1e-3).tolerance == 1e-3


@pytest.mark.parametrize(("device", "asked"), [("cpu", "cpu"), ("NVIDIA H100 80GB HBM3", "gpu")])
def test_the_steps_are_asked_of_the_kind_of_device_that_trained_them(device: str, asked: str) -> None:
    job = replay.job_of(manifest(environment=CPU.model_copy(update={"device": device})), 3)
    assert CreateJob.model_validate(job).device == asked
    assert "device" not in replay.job_of(manifest(environment=None), 3)


class Queue:
    """An installation without a GPU, where a job for one waits; somebody cancels it at last."""

    def __init__(self) -> None:
        self.status = "queued"

    def create_job(self, job: dict[str, object]) -> dict[str, object]:
        assert job["device"] == "gpu"
        return self.job("job_2_bbbb")

    def job(self, uid: str) -> dict[str, object]:
        return {"uid": uid, "status": self.status, "problems": ["No trainer that is there has a GPU."]}

    def wait_until_past(self, uid: str, *, seconds: float) -> dict[str, object]:
        self.status = "cancelled"
        return self.job(uid)

    def delete(self, uid: str) -> None:
        self.status = "deleted"


def test_a_replay_that_waits_for_a_device_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    queue = Queue()
    gpu = manifest(environment=CPU.model_copy(update={"device": "A GPU"}))
    with pytest.raises(CommandFailed, match="ended as cancelled"):
        replay.replayed(cast(Client, queue), gpu, 2)
    assert "No trainer that is there has a GPU." in capsys.readouterr().err
    assert queue.status == "deleted"


def test_a_replay_on_another_number_of_devices_is_told_as_that_and_not_compared() -> None:
    two = manifest(environment=CPU.model_copy(update={"processes": 2}))
    other = manifest(losses=Losses(train=[9.0], evaluations=[]))
    with pytest.raises(CommandFailed, match=r"on 2 devices at once .* on 1, .*TUNEDECK_DEVICES"):
        replay.compared(two, "job_2_bbbb", other, 1, 1e-3)
    assert replay.compared(two, "job_2_bbbb", two, 3, 1e-3).passed
