"""The bundled model through the whole system: four steps of the demo's job."""

from pathlib import Path

from tests.e2e.api import Api, ended
from tunedeck_cli.bundled_model import MODEL_ID

EXAMPLES = Path(__file__).parents[2] / "examples"


def test_the_bundled_model_learns_from_the_demos_rows(api: Api) -> None:
    preview = api.preview((EXAMPLES / "python-docs.csv").read_bytes(), "python-docs.csv").json()
    assert preview["statistics"]["total_rows"] >= 1000
    created = api.create_job(
        preview["upload_id"],
        model=MODEL_ID,
        max_steps=4,
        batch_size=4,
        max_length=64,
        eval_steps=4,
        validation_rows=8,
        learning_rate=1e-3,
    )
    job = api.wait(created["jobUid"], ended, 300)
    assert job["status"] == "completed", job["failure"]
    assert job["result"]["validationLossAfter"] < job["result"]["validationLossBefore"]
    assert job["result"]["validationRows"] == 8
