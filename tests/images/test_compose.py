"""What docker-compose.yml is held to: its schema, OWASP's rules for containers, and our own settings."""

import json
import os
import re
import shutil
import subprocess
import sys
from ipaddress import ip_network
from pathlib import Path
from urllib.parse import urlsplit

import jsonschema
import pytest

from tests.images.compose import (
    COMPOSE,
    OVERRIDES,
    Service,
    environment_of,
    read,
    secrets_of,
    services,
    volumes_of,
)
from tests.images.dockerfiles import OPERATOR, OURS, PROVISION, ROOT, SERVICES, USER, Dockerfile, folder_of
from tunedeck_chassis.mongo_users import MONGO_USERS, PASSWORD
from tunedeck_contracts.permissions import USERS

ALL = services()
TOOLS = ("secrets", "operator")
LASTING = {name: one for name, one in ALL.items() if name not in (*TOOLS, PROVISION)}
SCHEMA = json.loads(Path(__file__).with_name("compose-spec.json").read_text())
FIXED = {
    "TUNEDECK_NATS_NKEY_SEED",
    "TUNEDECK_MONGO_PASSWORD",
    "TUNEDECK_SECRETS_DIR",
    "TUNEDECK_HEARTBEAT_FILE",
    "TUNEDECK_TLS_CA_FILE",
    "TUNEDECK_HOST",
    "TUNEDECK_PORT",
    "TUNEDECK_MONITOR_PORT",
    "TUNEDECK_MODELS_DIR",
    "TUNEDECK_WORK_DIR",
    "TUNEDECK_ADAPTERS_DIR",
    "TUNEDECK_TRAINER_ID",
}
"""Settings that the images, the secrets or compose.tls.yml say; a database's name is its user's, too."""


@pytest.mark.parametrize("path", [COMPOSE, *OVERRIDES], ids=lambda path: path.name)
def test_it_is_what_the_specification_allows(path: Path) -> None:
    jsonschema.Draft7Validator(SCHEMA).validate(read(path))


@pytest.mark.parametrize("override", [None, *OVERRIDES], ids=lambda path: path.name if path else "alone")
def test_compose_itself_reads_it(override: Path | None) -> None:
    client = _compose_client()
    if client is None:
        pytest.skip("no client of compose here: apt-get install docker-compose")
    files = [word for path in (COMPOSE, override) if path for word in ("-f", str(path))]
    ran = subprocess.run([*client, *files, "config"], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr


@pytest.mark.parametrize("name", ALL)
def test_it_is_confined(name: str) -> None:
    service = ALL[name]
    assert service["read_only"] is True
    assert any(one.split(":")[0] == "/tmp" for one in service["tmpfs"])
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert service["pids_limit"] and service["mem_limit"] and service["cpus"]
    assert not {"privileged", "pid", "ipc", "userns_mode", "devices"} & service.keys()
    assert "docker.sock" not in json.dumps(service)
    allowed = {
        "secrets": ["DAC_OVERRIDE", "FOWNER"],
        "operator": ["DAC_OVERRIDE"],
        "proxy": ["NET_BIND_SERVICE"],
    }
    assert service.get("cap_add", []) == allowed.get(name, [])


@pytest.mark.parametrize("name", ALL)
def test_it_does_not_run_as_root(name: str) -> None:
    service = ALL[name]
    if name in TOOLS:
        # They alone: they write into a folder of the host, and end.
        assert service["user"] == "0:0" and service["profiles"] == ["tools"]
    elif "user" in service:
        assert service["user"] in (f"{USER}:{USER}", "999:999")
    else:
        assert Dockerfile(ROOT / service["build"]["dockerfile"]).all("USER")[-1] == f"{USER}:{USER}"


@pytest.mark.parametrize("name", LASTING)
def test_it_is_healed_and_watched(name: str) -> None:
    service = LASTING[name]
    assert service["restart"] == "unless-stopped"
    assert service["logging"]["options"].keys() >= {"max-size", "max-file"}
    if "healthcheck" not in service:
        assert Dockerfile(ROOT / service["build"]["dockerfile"]).all("HEALTHCHECK")


def test_images_that_are_not_built_here_are_pinned() -> None:
    foreign = {one["image"] for one in ALL.values() if "build" not in one}
    assert {one.partition(":")[0] for one in foreign} == {"mongo", "caddy"}
    assert [one for one in foreign if not re.fullmatch(r"[a-z]+:\d+\.\d+", one)] == [], (
        "a major tag moves far"
    )


@pytest.mark.parametrize("name", OURS)
def test_each_image_is_built_from_its_own_dockerfile(name: str) -> None:
    build = ALL[name]["build"]
    assert build["context"] == "."
    assert build["dockerfile"] == f"{folder_of(name)}/Dockerfile"


def test_ports_are_the_hosts_own_alone() -> None:
    published = {name: one["ports"] for name, one in ALL.items() if "ports" in one}
    assert published == {"proxy": ["127.0.0.1:8000:8000", "127.0.0.1:8001:8001"]}


def test_nats_and_mongodb_are_out_of_the_reach_of_others() -> None:
    networks = read()["networks"]
    assert {name for name, one in networks.items() if one.get("internal")} == {"edge", "inside"}
    assert {name for name, one in ALL.items() if "edge" in one.get("networks", [])} == {
        "proxy",
        "gateway",
        "operator",
    }
    assert ALL["nats"]["networks"] == ALL["mongo"]["networks"] == ["inside"]
    assert "inside" not in ALL["proxy"]["networks"]


def test_who_is_not_the_proxy_cannot_choose_an_address() -> None:
    """Limits count by address; trainers and the catalog reach the gateways too."""
    (range_,) = read()["networks"]["edge"]["ipam"]["config"]
    assert environment_of(ALL["gateway"])["TUNEDECK_TRUSTED_PROXIES"] == range_["subnet"]
    assert ip_network(range_["subnet"]).is_private and ip_network(range_["subnet"]).prefixlen >= 24


def test_everything_waits_for_what_it_needs() -> None:
    for service in SERVICES:
        assert ALL[service]["depends_on"] == {PROVISION: {"condition": "service_completed_successfully"}}
    assert ALL[PROVISION]["depends_on"] == {
        name: {"condition": "service_healthy"} for name in ("nats", "mongo")
    }
    assert ALL["proxy"]["depends_on"] == {"gateway": {"condition": "service_healthy"}}


def test_provisioning_that_cannot_succeed_comes_to_an_end() -> None:
    """`up` waits for it: tried again for ever, it would never say why."""
    assert re.fullmatch(r"on-failure:[1-9]", ALL[PROVISION]["restart"])


@pytest.mark.parametrize("service", [*SERVICES, PROVISION])
def test_secrets_are_files_and_its_own(service: str) -> None:
    assert service in USERS and service in MONGO_USERS
    own = {
        f"/run/secrets/{name}": Path("secrets") / service / name
        for name in ("tunedeck_nats_nkey_seed", "tunedeck_mongo_password")
    }
    users = {f"/run/users/{user}/{PASSWORD}": Path("secrets") / user / PASSWORD for user in MONGO_USERS}
    assert secrets_of(ALL[service]) == (own | users if service == PROVISION else own)
    assert environment_of(ALL[service])["TUNEDECK_MONGO_USER"] == service


@pytest.mark.parametrize("name", ALL)
def test_no_variable_holds_a_secret(name: str) -> None:
    said = [
        variable
        for variable in ALL[name].get("environment", {})
        if re.search("PASSWORD|SEED|TOKEN", variable) and not variable.endswith("_FILE")
    ]
    # huggingface_hub's own; it is handed on, and not in the file.
    assert said == [one for one in said if one == "HF_TOKEN" and ALL[name]["environment"][one] is None]


@pytest.mark.parametrize("service", SERVICES)
def test_every_setting_can_be_set(service: str) -> None:
    from scripts.write_settings import settings

    listed = settings()
    wanted = {one.variable.upper() for one in (*listed["Every service"], *listed[service])} - FIXED
    wanted = {name for name in wanted if not name.endswith("_DATABASE")}
    missing = wanted - ALL[service]["environment"].keys()
    assert not missing, (
        f"add them to {service}'s environment in docker-compose.yml, without a value: {missing}"
    )


@pytest.mark.parametrize("name", [name for name in LASTING if "build" in LASTING[name]])
def test_a_volume_belongs_to_the_user_who_writes_into_it(name: str) -> None:
    made = Dockerfile(ROOT / ALL[name]["build"]["dockerfile"]).folders
    written = {folder for folder, (_, read_only) in volumes_of(ALL[name]).items() if not read_only}
    assert written == set(made)


def test_each_trainer_has_a_work_folder_of_its_own() -> None:
    file = Dockerfile(ROOT / ALL["trainer"]["build"]["dockerfile"])
    volumes = volumes_of(ALL["trainer"])
    assert volumes[file.environment["TUNEDECK_WORK_DIR"]] == (None, False)
    assert volumes[file.environment["TUNEDECK_ADAPTERS_DIR"]] == ("adapters", False)
    assert volumes[file.environment["TUNEDECK_MODELS_DIR"]] == ("./models", True)
    assert not {"container_name", "ports", "hostname"} & (ALL["trainer"].keys() | ALL["gateway"].keys())


def test_authentication_and_limits_are_on() -> None:
    said = environment_of(ALL["gateway"])
    assert (said["TUNEDECK_AUTH"], said["TUNEDECK_LIMITS"]) == ("on", "on")
    assert "--keyFile" in ALL["mongo"]["command"]
    assert secrets_of(ALL["nats"]) == {"/etc/nats/nats_keys.conf": Path("secrets/nats/nats_keys.conf")}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can leave its capabilities behind")
def test_secrets_are_made_in_a_folder_that_is_somebody_elses(tmp_path: Path) -> None:
    """`mkdir secrets` by who deploys, before the first run; with the capabilities of the container alone."""
    folder = tmp_path / "secrets"
    folder.mkdir()
    os.chown(folder, 1000, 1000)
    rights = "".join(f",+{one.lower()}" for one in ALL["secrets"]["cap_add"])
    confined = ["setpriv", f"--bounding-set=-all{rights}", f"--inh-caps=-all{rights}", "--no-new-privs"]
    command = [*confined, sys.executable, "-m", "tunedeck_chassis.secrets", str(folder)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 0, ran.stderr
    assert (folder / "jobs" / PASSWORD).is_file() and folder.stat().st_mode & 0o777 == 0o700


def test_what_is_built_is_in_the_context_and_secrets_are_not() -> None:
    ignored = (ROOT / ".dockerignore").read_text().split("\n")
    copied = {
        word.split("/")[0]
        for one in ALL.values()
        if "build" in one
        for copy in Dockerfile(ROOT / one["build"]["dockerfile"]).all("COPY")
        if not copy.startswith("--from")
        for word in copy.split()[:-1]
        if not word.startswith("--")
    }
    assert ignored[1] == "*"
    assert {f"!{name}" for name in copied} <= set(ignored)
    assert not {"!secrets", "!.env", "!models"} & set(ignored)


def _compose_client() -> list[str] | None:
    if shutil.which("docker"):
        plugin = subprocess.run(["docker", "compose", "version"], capture_output=True, check=False)
        if plugin.returncode == 0:
            return ["docker", "compose"]
    return ["docker-compose"] if shutil.which("docker-compose") else None


def test_an_operator_asks_a_gateway_that_answers_to_the_name() -> None:
    """The proxy speaks HTTPS alone where there is TLS, with a certificate for another name."""
    for files in ((), (COMPOSE, ROOT / "compose.tls.yml")):
        one = services(*files)
        url = urlsplit(environment_of(one[OPERATOR])["TUNEDECK_API_URL"])
        assert (url.scheme, url.hostname, url.port) == ("http", "gateway", 8000)
        assert set(one[OPERATOR]["networks"]) & set(one["gateway"]["networks"])
        allowed = ALL["gateway"]["environment"]["TUNEDECK_ALLOWED_HOSTS"]
        assert allowed == "gateway,*", "any name, until one is set"
    assert "gateway,${TUNEDECK_ALLOWED_HOSTS:-*}" in COMPOSE.read_text()


def test_a_gpu_is_reserved_for_the_trainer_alone() -> None:
    gpu: dict[str, Service] = read(ROOT / "compose.gpu.yml")["services"]
    assert list(gpu) == ["trainer"]
    (device,) = gpu["trainer"]["deploy"]["resources"]["reservations"]["devices"]
    assert device == {"driver": "nvidia", "device_ids": ["0"], "capabilities": ["gpu"]}


def test_with_tls_everything_is_spoken_to_by_tls_only() -> None:
    secured = services(COMPOSE, ROOT / "compose.tls.yml")
    for name in (*SERVICES, PROVISION):
        assert environment_of(secured[name])["TUNEDECK_TLS_CA_FILE"] in secrets_of(secured[name])
        assert secrets_of(secured[name]).items() > secrets_of(ALL[name]).items()
    assert "--tlsMode requireTLS" in secured["mongo"]["entrypoint"][2]
    configuration = secured["nats"]["command"][-1]
    assert configuration == "/etc/nats/tls.conf"
    assert "deploy/nats/tls.conf" in Dockerfile(ROOT / ALL["nats"]["build"]["dockerfile"]).all("COPY")[-1]
    assert environment_of(secured["proxy"])["SCHEME"] == "https"
