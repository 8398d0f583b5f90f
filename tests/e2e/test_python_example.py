"""The Python program of docs/api.md runs as it stands, but for host and port."""

import subprocess
import sys
from pathlib import Path

from tests.e2e.api import Api, rows_csv
from tests.support.api_document import section


def test_the_complete_workflow_example_runs(api: Api, tmp_path: Path) -> None:
    program = section("Complete Workflow Example").block("python")
    program = program.replace("http://127.0.0.1:8000", str(api.main.base_url).rstrip("/"))
    program = program.replace("http://127.0.0.1:8001", str(api.monitor.base_url).rstrip("/"))
    assert ":8000" not in program and ":8001" not in program
    (tmp_path / "dataset.csv").write_bytes(rows_csv(20))
    ran = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert (ran.stderr, ran.stdout) == ("", "Training Progress: 0.0%\n")
    newest = api.main.get("/api/jobs").json()["jobs"][0]
    assert (newest["name"], newest["status"]) == ("My Fine-tuning Job", "created")
    assert any(problem.startswith("dataset: ") for problem in newest["problems"])
