"""What the papers tell who deploys about compose files."""

import re
from pathlib import Path

import jsonschema
import yaml

from tests.images.compose import OVERRIDES, environment_of
from tests.images.dockerfiles import ROOT
from tests.images.test_compose import ALL, SCHEMA
from tests.support.events_document import block
from tunedeck_chassis.secrets import SEED
from tunedeck_contracts.permissions import USERS


def test_the_papers_choose_the_files_where_every_command_reads_them() -> None:
    """A file of one command's `-f` is left out of the next: an upgrade would take TLS and the GPU off."""
    for paper in (ROOT / "README.md", *OVERRIDES):
        said = paper.read_text()
        assert "-f docker-compose.yml" not in said, paper
        named = re.findall(r"COMPOSE_FILE=([\w.:-]+)", said)
        assert named and all((ROOT / one).is_file() for files in named for one in files.split(":")), paper
    assert "\n#COMPOSE_FILE=docker-compose.yml\n" in (ROOT / ".env.example").read_text()


def test_a_subscribers_container_is_as_the_papers_say() -> None:
    """It is where NATS is, and has a seed that `secrets` makes."""
    said = yaml.safe_load(block("yaml", "## Beside containers"))
    jsonschema.Draft7Validator(SCHEMA).validate(said)
    for one in said["services"].values():
        assert set(one["networks"]) & set(ALL["nats"]["networks"])
        assert one["environment"]["NATS_URL"] == environment_of(ALL["jobs"])["TUNEDECK_NATS_URL"]
        assert Path(one["environment"]["NATS_NKEY"]).name in said["secrets"]
    (seed,) = said["secrets"].values()
    assert Path(seed["file"]).parts in [("secrets", user, SEED) for user in USERS]
