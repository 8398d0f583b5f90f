"""A small server that speaks the Hugging Face Hub's API well enough for the real client (HF_ENDPOINT).

It keeps models with every commit, searches them, and gives their files out. It can be made to fail while
it runs.
"""

import contextlib
import hashlib
import json
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from tests.support.hub_models import Files, HubModel
from tests.support.hub_uploads import Uploads

ACCEPTED_TOKEN = "hf_whoHasAcceptedTheTerms"
LONGEST_WAIT_SECONDS = 60.0


class HubServer:
    """The server on a free port of the loopback. `requests` has the method and path of each it took."""

    def __init__(self) -> None:
        self.models: dict[str, HubModel] = {}
        self.requests: list[str] = []
        self.mood = "well"
        self.over = threading.Event()
        self.uploads = Uploads(self)
        self._server = _Listener(self)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def start(self) -> None:
        """Answer from now on."""
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        """Answer no more, and let those go who wait."""
        self.over.set()
        self._server.shutdown()
        self._server.server_close()

    def add(
        self, model_id: str, files: Files, *, gated: bool = False, license: str | None = None
    ) -> HubModel:
        """Publish a model of one commit."""
        tags = ["transformers", "safetensors", *([f"license:{license}"] if license else [])]
        about = {
            "downloads": 50,
            "likes": 3,
            "library_name": "transformers",
            "pipeline_tag": "text-generation",
            "tags": tags,
        }
        model = HubModel(model_id, about, gated)
        model.commit(files)
        self.models[model_id] = model
        return model

    @contextlib.contextmanager
    def away(self) -> Iterator[None]:
        """Connections are closed without a word."""
        with self._in("away"):
            yield

    @contextlib.contextmanager
    def slow(self) -> Iterator[None]:
        """No answer comes before the block ends."""
        with self._in("slow"):
            yield

    @contextlib.contextmanager
    def broken(self) -> Iterator[None]:
        """A page in HTML answers everything with 200, as a captive portal does."""
        with self._in("broken"):
            yield

    @contextlib.contextmanager
    def _in(self, mood: str) -> Iterator[None]:
        self.mood, self.over = mood, threading.Event()
        try:
            yield
        finally:
            self.mood = "well"
            self.over.set()


class _Listener(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, hub: HubServer) -> None:
        self.hub = hub
        super().__init__(("127.0.0.1", 0), _Answers)

    def process_request(self, request: Any, client_address: Any) -> None:
        if self.hub.mood == "away":
            self.shutdown_request(request)
        else:
            super().process_request(request, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that gave up is no event; a defect of this server is."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Answers(BaseHTTPRequestHandler):
    """One request: `/api/models...` or `/{model}/resolve/{revision}/{file}`."""

    server: _Listener

    def do_HEAD(self) -> None:
        self._respond()

    def do_GET(self) -> None:
        self._respond()

    def do_POST(self) -> None:
        self._take()

    def do_PUT(self) -> None:
        self._take()

    def log_message(self, format: str, *args: Any) -> None:
        """Tells nobody."""

    def _take(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        if not self._is_moody():
            status, said = self.server.hub.uploads.take(urlsplit(self.path).path, self._token, body)
            self._json(said, status)

    def _is_moody(self) -> bool:
        """Whether the server's mood has answered."""
        hub = self.server.hub
        hub.requests.append(f"{self.command} {self.path}")
        if hub.mood == "slow":
            hub.over.wait(LONGEST_WAIT_SECONDS)
        if hub.mood == "broken":
            self._send(200, b"<html>Please sign in to this network.</html>", {"Content-Type": "text/html"})
        return hub.mood == "broken"

    @property
    def _token(self) -> str:
        return self.headers.get("Authorization", "").removeprefix("Bearer ")

    def _respond(self) -> None:
        if self._is_moody():
            return
        address = urlsplit(self.path)
        query = parse_qs(address.query)
        parts = [unquote(part) for part in address.path.strip("/").split("/")]
        if parts == ["api", "whoami-v2"]:
            status, said = self.server.hub.uploads.whoami(self._token)
            self._json(said, status)
        elif parts[:2] != ["api", "models"]:
            self._file(parts)
        elif len(parts) == 2:
            self._search(query)
        else:
            self._model(parts[2:], query)

    def _search(self, query: dict[str, list[str]]) -> None:
        wanted = query.get("search", [""])[0].casefold()
        named = [one for one in self.server.hub.models.values() if wanted in one.id.casefold()]
        found = [one.info(one.main, sizes=False) for one in named]
        if "pipeline_tag" in query:
            found = [one for one in found if one["pipeline_tag"] == query["pipeline_tag"][0]]
        found.sort(key=lambda one: -one["downloads"])
        keys = {"id", *query.get("expand", [])}
        shown = [{key: one[key] for key in one.keys() & keys} for one in found]
        self._json(shown[: int(query.get("limit", ["30"])[0])])

    def _model(self, parts: list[str], query: dict[str, list[str]]) -> None:
        model, rest = self._named(parts)
        if model is None:
            self._refuse(401, "RepoNotFound", "Invalid username or password.")
        elif rest == ["auth-check"]:
            self._gate(model) or self._json({})
        elif rest[:1] == ["tree"] and len(rest) == 2:
            commit = self._commit(model, rest[1])
            if commit and not self._gate(model):
                self._json([_entry(name, content) for name, content in model.commits[commit].items()])
        else:
            commit = self._commit(model, rest[1] if rest[:1] == ["revision"] and len(rest) == 2 else "main")
            if commit:
                self._json(model.info(commit, sizes="blobs" in query))

    def _file(self, parts: list[str]) -> None:
        model, rest = self._named(parts)
        if model is None or rest[:1] != ["resolve"] or len(rest) < 3:
            self._refuse(401, "RepoNotFound", "Invalid username or password.")
            return
        commit = self._commit(model, rest[1])
        if not commit or self._gate(model):
            return
        content = model.commits[commit].get("/".join(rest[2:]))
        if content is None:
            self._refuse(404, "EntryNotFound", "Entry not found", {"X-Repo-Commit": commit})
            return
        headers = {
            "ETag": f'"{hashlib.sha1(content, usedforsecurity=False).hexdigest()}"',
            "X-Linked-Etag": f'"{hashlib.sha256(content).hexdigest()}"',
            "X-Linked-Size": str(len(content)),
            "X-Repo-Commit": commit,
        }
        self._send(200, content, headers)

    def _named(self, parts: list[str]) -> tuple[HubModel | None, list[str]]:
        """The model that a path begins with, and the rest of the path."""
        models = self.server.hub.models
        length = 2 if "/".join(parts[:2]) in models else 1
        return models.get("/".join(parts[:length])), parts[length:]

    def _commit(self, model: HubModel, revision: str) -> str:
        commit = model.main if revision == "main" else revision
        if commit in model.commits:
            return commit
        self._refuse(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return ""

    def _gate(self, model: HubModel) -> bool:
        """Refuse who has no token that has accepted the terms; whether it was refused."""
        token = self._token
        if not model.gated or token == ACCEPTED_TOKEN:
            return False
        sentence = f"Access to model {model.id} is restricted."
        self._refuse(403 if token else 401, "GatedRepo", sentence)
        return True

    def _refuse(self, status: int, code: str, message: str, headers: dict[str, str] | None = None) -> None:
        named = {"X-Error-Code": code, "X-Error-Message": message, **(headers or {})}
        self._send(status, json.dumps({"error": message}).encode(), named)

    def _json(self, body: Any, status: int = 200) -> None:
        self._send(status, json.dumps(body).encode(), {"Content-Type": "application/json"})

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def _entry(name: str, content: bytes) -> dict[str, Any]:
    oid = hashlib.sha1(content, usedforsecurity=False).hexdigest()
    return {"type": "file", "path": name, "size": len(content), "oid": oid}
