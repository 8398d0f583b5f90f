"""The proxy's configuration, by Caddy itself."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.images.dockerfiles import ROOT

FILES = sorted((ROOT / "deploy" / "proxy").glob("*Caddyfile"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_caddy_takes_it(path: Path) -> None:
    caddy = shutil.which("caddy")
    if caddy is None:
        pytest.skip("no caddy here: apt-get install caddy")
    command = [caddy, "validate", "--adapter", "caddyfile", "--config", str(path)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    formatted = subprocess.run([caddy, "fmt", str(path)], capture_output=True, text=True, check=True)
    assert formatted.stdout == path.read_text()
