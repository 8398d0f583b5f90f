"""What the Hub's stand-in takes from who may write: repositories, large files, and commits of one request."""

import base64
import hashlib
import json
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.support.hub_models import HubModel
    from tests.support.hub_server import HubServer

WRITER_TOKEN = "hf_mayWrite"
WRITER = "writer"
"""The account of the token; it may write to its own repositories alone."""

Answer = tuple[int, dict[str, Any]]


@dataclass
class Uploads:
    """Answers POST and PUT. Safetensors go by the protocol of Git LFS, everything else with the commit."""

    hub: "HubServer"
    large: dict[str, bytes] = field(default_factory=dict)

    def whoami(self, token: str) -> Answer:
        """`GET /api/whoami-v2`."""
        return (200, {"name": WRITER, "type": "user"}) if token == WRITER_TOKEN else _refused()

    def take(self, path: str, token: str, body: bytes) -> Answer:
        """One request. A large file needs no token: its address is the leave."""
        if path.startswith("/large/"):
            self.large[path.removeprefix("/large/")] = body
            return 200, {}
        if token != WRITER_TOKEN:
            return _refused()
        if path == "/api/validate-yaml":
            return _validated(json.loads(body)["content"])
        if path == "/api/repos/create":
            return self._created(json.loads(body))
        if path.endswith(".git/info/lfs/objects/batch"):
            return self._to_be_sent(json.loads(body)["objects"])
        owner, repository, verb = path.removeprefix("/api/models/").split("/")[:3]
        model = self.hub.models.get(f"{owner}/{repository}")
        if model is None or owner != WRITER:
            return HTTPStatus.NOT_FOUND, {"error": "Repository not found"}
        if verb == "settings":
            model.about["private"] = json.loads(body)["visibility"] == "private"
            return 200, {}
        if verb == "preupload":
            return 200, {"files": [_mode(file["path"]) for file in json.loads(body)["files"]]}
        return self._committed(model, [json.loads(line) for line in body.splitlines()])

    def _created(self, wanted: dict[str, Any]) -> Answer:
        name = f"{wanted['organization'] or WRITER}/{wanted['name']}"
        if not name.startswith(f"{WRITER}/"):
            sentence = f"You don't have the rights to create a model under the namespace of {name!r}."
            return HTTPStatus.FORBIDDEN, {"error": sentence}
        url = {"url": f"{self.hub.url}/{name}"}
        if name in self.hub.models:
            return HTTPStatus.CONFLICT, {"error": "You already created this model repo", **url}
        self.hub.add(name, {}).about["private"] = wanted["visibility"] == "private"
        return 200, url

    def _to_be_sent(self, objects: list[dict[str, Any]]) -> Answer:
        def upload(oid: str) -> dict[str, Any]:
            return {"actions": {"upload": {"href": f"{self.hub.url}/large/{oid}"}}}

        wanted = [{**one, **({} if one["oid"] in self.large else upload(one["oid"]))} for one in objects]
        return 200, {"transfer": "basic", "objects": wanted}

    def _committed(self, model: "HubModel", lines: list[dict[str, Any]]) -> Answer:
        files = dict(model.commits[model.main])
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                content = self.large.get(value["oid"])
                if content is None or hashlib.sha256(content).hexdigest() != value["oid"]:
                    return HTTPStatus.BAD_REQUEST, {"error": f"{value['path']} was not sent as it is named"}
                files[value["path"]] = content
        commit = model.commit(files)
        return 200, {"commitUrl": f"{self.hub.url}/{model.id}/commit/{commit}", "commitOid": commit}


def _validated(content: str) -> Answer:
    if content.startswith("---\n") and "\nbase_model: " in content.split("\n---\n")[0]:
        return 200, {"errors": [], "warnings": []}
    return HTTPStatus.BAD_REQUEST, {"errors": [{"message": "no base_model"}], "warnings": []}


def _mode(path: str) -> dict[str, Any]:
    mode = "lfs" if path.endswith(".safetensors") else "regular"
    return {"path": path, "uploadMode": mode, "shouldIgnore": False}


def _refused() -> Answer:
    return HTTPStatus.UNAUTHORIZED, {"error": "Invalid username or password."}
