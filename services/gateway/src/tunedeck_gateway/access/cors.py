"""CORS as Starlette has it, with a refused preflight in the one form that errors have."""

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response

from tunedeck_contracts.errors import Forbidden
from tunedeck_gateway.bridge import error_response


class Cors(CORSMiddleware):
    """https://fetch.spec.whatwg.org/#http-cors-protocol"""

    def preflight_response(self, request_headers: Headers) -> Response:
        """The answer to a browser that asks before it sends."""
        answer = super().preflight_response(request_headers)
        if answer.status_code < 400:
            return answer
        sentence = (
            f"A page of {request_headers['origin'][:100]!r} may not send this: "
            "add its origin to TUNEDECK_CORS_ORIGINS."
        )
        refused = error_response(Forbidden(sentence).reply())
        for name in ("vary", "access-control-allow-origin"):
            if name in answer.headers:
                refused.headers[name] = answer.headers[name]
        return refused
