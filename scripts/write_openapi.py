"""Writes the OpenAPI documents of both ports into docs/openapi."""

import json
from pathlib import Path

from tunedeck_gateway.app import create_app
from tunedeck_gateway.settings import GatewaySettings

DOCUMENTS = Path(__file__).resolve().parent.parent / "docs" / "openapi"


def texts() -> dict[str, str]:
    """Each document as the text of its file."""
    both = create_app(GatewaySettings(), monitor_port=8001)
    documents = {"main.json": both.main.openapi(), "monitor.json": both.monitor.openapi()}
    return {
        name: json.dumps(document, indent=2, ensure_ascii=False) + "\n"
        for name, document in documents.items()
    }


if __name__ == "__main__":
    DOCUMENTS.mkdir(parents=True, exist_ok=True)
    for file_name, text in texts().items():
        (DOCUMENTS / file_name).write_text(text)
