"""What each image holds, installed and run as its Dockerfile and docker-compose.yml say, on real servers with
authentication; only by `make images`."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from tests.images.compose import COMPOSE
from tests.images.container import NEEDED, Container
from tests.images.deployment import Deployment
from tests.images.dockerfiles import OPERATOR, OURS, PROVISION, ROOT, SERVICES
from tests.images.images import Images
from tests.images.test_dockerfiles import ALLOWED_HEAVY, HEAVY
from tests.support.tiny_model import build_tiny_model

MISSING = [name for name in (*NEEDED, "busybox", "caddy", "curl") if shutil.which(name) is None]
pytestmark = [
    pytest.mark.images,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(bool(MISSING), reason=f"not here, and an apt-get away: {', '.join(MISSING)}"),
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a container's namespaces"),
]
KEY = ["python", "-m", "tunedeck_gateway.keys", "create", "--name", "first", "--scope", "admin"]


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Images:
    return Images(tmp_path_factory.mktemp("images"))


@pytest.mark.parametrize("name", OURS)
def test_only_what_it_needs_is_installed(images: Images, name: str) -> None:
    python = images.environment(name) / "bin" / "python"
    listed = subprocess.run([python, "-m", "pip", "list", "--format=json"], capture_output=True, check=True)
    names = {one["name"].lower().replace("_", "-") for one in json.loads(listed.stdout)}
    named = {PROVISION: "tunedeck-chassis", OPERATOR: "tunedeck-cli"}.get(name, f"tunedeck-{name}")
    own = {"tunedeck-contracts", "tunedeck-chassis", named}
    assert {one for one in names if one.startswith("tunedeck-")} == own
    assert names & HEAVY == ALLOWED_HEAVY.get(name, set())
    subprocess.run([python, "-m", "pip", "check"], check=True)


@pytest.fixture(scope="module")
def deployment(images: Images, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """NATS and MongoDB, with their users, streams and replica set."""
    whole = Deployment(tmp_path_factory.mktemp("deployment"), images, passed={"TUNEDECK_TORCH_THREADS": "1"})
    build_tiny_model(whole.folder / "models" / "local" / "tiny")
    subprocess.run(["chmod", "-R", "a+rX", whole.folder / "models"], check=True)
    try:
        whole.run("secrets")
        whole.up("nats")
        whole.up("mongo")
        whole.run("provision")
        yield whole
    finally:
        whole.close()


@pytest.fixture(scope="module")
def containers(deployment: Deployment) -> dict[str, list[Container]]:
    """All five services, two gateways and two trainers, behind the proxy."""
    started = {name: [deployment.up(name)] for name in SERVICES}
    started["gateway"].append(deployment.up("gateway"))
    started["trainer"].append(deployment.up("trainer"))
    started["proxy"] = [deployment.up("proxy")]
    return started


def test_secrets_and_provisioning_change_nothing_the_second_time(deployment: Deployment) -> None:
    assert deployment.run("secrets") == ""
    assert json.loads(deployment.run("provision").splitlines()[-1])["changes"] == []


def test_the_keeper_works_in_its_container(deployment: Deployment) -> None:
    deployment.up("keeper").stop()


def test_every_container_is_healthy_and_shut_in(containers: dict[str, list[Container]]) -> None:
    for container in (one for name in SERVICES for one in containers[name]):
        assert container.run(["touch", "/opt/tunedeck/x", "/x"]).returncode != 0
        assert container.run(["id", "-u"]).stdout == "10001\n"
        status = container.run(["cat", "/proc/self/status"]).stdout.split("\n")
        assert "CapBnd:\t0000000000000000" in status and "NoNewPrivs:\t1" in status
        container.wait_until_healthy(5)


def test_each_trainer_works_in_a_folder_of_its_own(containers: dict[str, list[Container]]) -> None:
    def kept(trainer: Container) -> str:
        journal = trainer.run(["sh", "-c", 'cat "$TUNEDECK_WORK_DIR/journal.json"'])
        return str(json.loads(journal.stdout)["trainer_id"])

    assert len({kept(trainer) for trainer in containers["trainer"]}) == 2


def test_a_job_runs_through(deployment: Deployment, containers: dict[str, list[Container]]) -> None:
    key = containers["gateway"][0].run(KEY)
    assert key.returncode == 0, key.stderr
    url = f"http://{containers['proxy'][0].address}:8000"
    job = [sys.executable, "-m", "tests.images.tiny_job", url, key.stdout.strip()]
    ran = deployment.network.run(job, 300)
    logs = "".join(one.log for name in SERVICES for one in containers[name])
    assert ran.returncode == 0, f"{ran.stderr}\n{logs[-8000:]}"
    said = json.loads(ran.stdout)
    assert said["job"]["status"] == "completed", said["job"]
    assert len(said["losses"]) == 3
    assert said["health"]["status"] == "healthy"
    folder = deployment.folder / "volumes" / "adapters" / said["job"]["uid"]
    assert (folder / "manifest.json").is_file() and folder.stat().st_uid == 10001


def test_an_operator_backs_up_and_looks_at_dead_letters(
    deployment: Deployment, containers: dict[str, list[Container]]
) -> None:
    deployment.run(OPERATOR, "backup", "/backup/today")
    kept = {path.name for path in (deployment.folder / "backup" / "today").iterdir()}
    assert {"tunedeck_gateway", "tunedeck_jobs", "tunedeck_catalog", "tunedeck_telemetry"} <= kept
    assert json.loads(deployment.run(OPERATOR, "dlq", "list", "--json")) == []


def test_gateways_share_keys_limits_and_tickets(
    deployment: Deployment, containers: dict[str, list[Container]]
) -> None:
    key = containers["gateway"][0].run(KEY).stdout.strip()
    addresses = [f"http://{one.address}:8000" for one in containers["gateway"]]
    ran = deployment.network.run([sys.executable, "-m", "tests.images.two_gateways", key, *addresses], 60)
    assert ran.returncode == 0, ran.stderr
    said = json.loads(ran.stdout)
    assert said["remaining"] == list(range(said["remaining"][0], said["remaining"][0] - 4, -1))
    assert said["close_codes"] == [4404, 4401], "the ticket of one is good at the other, and once"


def test_a_frozen_service_is_seen(containers: dict[str, list[Container]]) -> None:
    trainer = containers["trainer"][1]
    trainer.signal("STOP")
    try:
        deadline = time.monotonic() + 60
        while (checked := trainer.check()).returncode == 0:
            assert time.monotonic() < deadline
            time.sleep(0.5)
        assert "stands still" in checked.stderr
    finally:
        trainer.signal("CONT")
    trainer.wait_until_healthy(60)


def test_an_operator_restores_what_was_backed_up(
    deployment: Deployment, containers: dict[str, list[Container]]
) -> None:
    """Last of these, as the services are stopped for it."""
    deployment.run(OPERATOR, "backup", "/backup/again")
    for container in (one for name in SERVICES for one in containers[name]):
        container.stop()
    said = deployment.run(OPERATOR, "restore", "--replace", "/backup/again")
    assert "Restored from /backup/again" in said


def test_with_tls_nothing_is_said_in_the_clear(images: Images, tmp_path: Path) -> None:
    whole = Deployment(tmp_path / "secured", images, COMPOSE, ROOT / "compose.tls.yml")
    authority = _certificates(whole.folder / "tls")
    try:
        whole.run("secrets")
        whole.up("nats")
        whole.up("mongo")
        whole.run("provision")
        whole.up("gateway")
        proxy = whole.up("proxy")
        asked = [
            "curl",
            "--silent",
            "--show-error",
            "--fail",
            "--resolve",
            f"tunedeck.test:8000:{proxy.address}",
        ]
        trusting = [*asked, "--cacert", str(authority), "https://tunedeck.test:8000/"]
        assert "is running" in whole.network.run(trusting, 20).stdout
        assert whole.network.run([*asked, "https://tunedeck.test:8000/"], 20).returncode != 0
        assert whole.network.run([*asked, "http://tunedeck.test:8000/"], 20).returncode != 0
    finally:
        whole.close()


def _certificates(folder: Path) -> Path:
    """What README.md asks for, and the authority that vouches for it."""
    folder.mkdir()
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    for prefix, names in (("", ("nats", "mongo")), ("site_", ("tunedeck.test",))):
        issued = authority.issue_cert(*names)
        issued.private_key_pem.write_to_path(str(folder / f"{prefix}key.pem"))
        (folder / f"{prefix}certificate.pem").write_bytes(
            b"".join(pem.bytes() for pem in issued.cert_chain_pems)
        )
    for path in folder.iterdir():
        path.chmod(0o444)
    return folder / "ca.pem"
