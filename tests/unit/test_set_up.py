"""scripts/set_up.sh on a machine that lacks something: it says what, and the next run begins anew."""

import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
WITHOUT_ENSUREPIP = """#!/bin/sh
# As Debian's python3.11 is without python3.11-venv.
[ "$1" = -c ] && exit 0
mkdir -p "$3/bin" && cp "$0" "$3/bin/python"
echo "The virtual environment was not created successfully because ensurepip is not available." >&2
exit 1
"""


def test_a_python_that_makes_no_environment_is_named_each_time_and_leaves_none(tmp_path: Path) -> None:
    (tmp_path / "scripts").mkdir()
    shutil.copy(ROOT / "scripts" / "set_up.sh", tmp_path / "scripts")
    for name in ("requirements-dev.txt", "requirements-model.txt", "constraints.txt"):
        (tmp_path / name).touch()
    for folder in ("libs/a", "services/a", "cli"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "pyproject.toml").touch()
    python = tmp_path / "python3.11"
    python.write_text(WITHOUT_ENSUREPIP)
    python.chmod(0o755)
    for _ in range(2):
        ran = subprocess.run(
            ["bash", tmp_path / "scripts" / "set_up.sh"],
            env={"PATH": "/usr/bin:/bin", "PYTHON": str(python)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert ran.returncode != 0 and "apt-get install python3.11-venv" in ran.stderr, ran
        assert not (tmp_path / ".venv").exists()
