"""What each request needs, told by its method and path alone: what is not named here needs a key."""

from tunedeck_gateway.access.keys import Scope
from tunedeck_gateway.access.limits import Kind

STREAM = "/ws/training/"
KEYS = "/api/keys"
TICKETS = "/api/ws-ticket"
COMPARISON = "/api/jobs/compare"
UPLOADS = {"/api/preview-csv", "/api/datasets"}
SEARCH = "/api/models/search"
_PUBLIC = {"/", "/api/health", "/docs", "/docs/oauth2-redirect", "/openapi.json"}
_PUBLIC_FOLDER = "/docs/assets/"


def is_public(path: str) -> bool:
    """Whether it is answered without a key, and not counted."""
    return path in _PUBLIC or path.startswith(_PUBLIC_FOLDER)


def needed_scope(method: str, path: str) -> Scope:
    """The least scope of a key for a request."""
    if path == KEYS or path.startswith(f"{KEYS}/"):
        return Scope.ADMIN
    return Scope.READ if method in ("GET", "HEAD") or path in (TICKETS, COMPARISON) else Scope.WRITE


def brings_file(method: str, path: str, content_type: str) -> bool:
    """Whether the body is a form with a file, which is checked while it arrives."""
    return method == "POST" and path in UPLOADS and content_type.lower().startswith("multipart/form-data")


def counted_as(method: str, path: str, content_type: str) -> tuple[Kind, bool]:
    """Which limit holds, and whether it is each address's (else each key's)."""
    if path == SEARCH:
        return Kind.SEARCH, True
    if brings_file(method, path, content_type):
        return Kind.UPLOAD, False
    return Kind.REQUEST, False
