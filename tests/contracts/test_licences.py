"""The lists of licences and pins name what is built in, and say what the installed packages say."""

import re
from importlib import metadata

import pytest

from scripts.write_licences import DOCUMENT, ROOT, licence, pinned, rows

COMMAND = "run `make schemas`, and look at the licences that are new before you commit them"
LISTED = rows(DOCUMENT.read_text())
OWN_IMAGES = "tunedeck/"


def test_every_pinned_package_is_listed_and_no_other() -> None:
    assert {name: version for name, (version, _) in LISTED.items()} == pinned(), COMMAND


def is_installed_as_pinned(name: str, version: str) -> bool:
    """Other platforms lack some packages, and have some in a build of their own (torch 2.13.0+cpu)."""
    try:
        return metadata.version(name) == version
    except metadata.PackageNotFoundError:
        return False


@pytest.mark.parametrize("name", LISTED)
def test_the_licence_is_what_the_package_says(name: str) -> None:
    version, named = LISTED[name]
    if not is_installed_as_pinned(name, version):
        pytest.skip("not installed here as it is pinned")
    assert licence(name) == named, COMMAND


def test_every_base_image_is_in_both_papers() -> None:
    folders = ("services", "libs", "deploy", "cli")
    dockerfiles = [path for folder in folders for path in (ROOT / folder).rglob("Dockerfile")]
    named = {
        image
        for path in [*dockerfiles, *ROOT.glob("*.yml")]
        for image in re.findall(r"^(?:FROM| *image:) (\S+)", path.read_text(), re.MULTILINE)
        if not image.startswith(OWN_IMAGES)
    }
    assert len(named) >= 4
    for paper in (DOCUMENT, DOCUMENT.with_name("supply-chain.md")):
        assert {image for image in named if f"`{image}`" not in paper.read_text()} == set(), paper
    patterns = re.findall(r"`([\w/*.-]+/Dockerfile)`", DOCUMENT.with_name("supply-chain.md").read_text())
    assert {path for pattern in patterns for path in ROOT.glob(pattern)} == set(dockerfiles)
