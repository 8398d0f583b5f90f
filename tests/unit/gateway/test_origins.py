"""By which names the gateway answers, and which pages may change something."""

import pytest

from tunedeck_contracts.errors import Forbidden
from tunedeck_gateway.access.origins import LOOPBACK_NAMES, Origins, answered_names
from tunedeck_gateway.settings import GatewaySettings

HOST = "127.0.0.1:8000"
LOCAL = Origins(LOOPBACK_NAMES, {"http://localhost:5173", "https://app.example.com"}, {8000, 8001})

OWN = ["http://127.0.0.1:8000", "http://127.0.0.1:8001", "https://127.0.0.1:8000"]
CONFIGURED = ["http://localhost:5173", "https://app.example.com"]
HOSTILE = [
    "null",
    "",
    "file://",
    "http://evil.example",
    "https://app.example.com.evil.example",
    "https://evil-app.example.com",
    "https://sub.app.example.com",
    "http://app.example.com",
    "https://app.example.com:8443",
    "https://app.example.com/",
    "https://APP.example.com",
    "HTTPS://app.example.com",
    "https://app.example.com@evil.example",
    "http://localhost:5174",
    "http://localhost:5173.evil.example",
    "http://127.0.0.1:8002",
    "http://127.0.0.1",
    "http://127.0.0.1.evil.example:8000",
    "http://127.0.0.1:8000@evil.example",
    "http://127.0.0.1:8000 ",
    "ws://127.0.0.1:8000",
    "http://[::1]:8000",
    "http://127.0.0.1:99999999",
    "chrome-extension://abcdefghijklmnop",
]


@pytest.mark.parametrize("origin", [*OWN, *CONFIGURED])
def test_own_and_configured_pages_may(origin: str) -> None:
    LOCAL.check_page(origin, HOST)


@pytest.mark.parametrize("origin", HOSTILE)
def test_other_pages_may_not(origin: str) -> None:
    with pytest.raises(Forbidden, match="TUNEDECK_CORS_ORIGINS"):
        LOCAL.check_page(origin, HOST)


@pytest.mark.parametrize("host", ["127.0.0.1:8000", "localhost", "[::1]:8001", "localhost:1234"])
def test_loopback_is_asked_by_its_own_names(host: str) -> None:
    LOCAL.check_host(host)


@pytest.mark.parametrize(
    "host",
    ["", "evil.example:8000", "127.0.0.1.evil.example", "localhost@evil.example", "10.1.2.3", "a b"],
)
def test_another_name_for_loopback_is_refused(host: str) -> None:
    with pytest.raises(Forbidden, match="TUNEDECK_ALLOWED_HOSTS"):
        LOCAL.check_host(host)


def test_names_are_taken_as_people_write_them() -> None:
    settings = GatewaySettings(allowed_hosts="GPU-Box:8000, Gpu2", cors_origins="https://App.example.com/")
    assert settings.allowed_hosts == ("gpu-box", "gpu2")
    assert settings.cors_origins == ("https://app.example.com",)
    LOCAL.check_host("LOCALHOST:8000")


def test_any_name_is_answered_only_where_nothing_else_is_said_and_never_on_loopback() -> None:
    assert answered_names("0.0.0.0", ()) is answered_names("0.0.0.0", ("gateway", "*")) is None
    assert answered_names("0.0.0.0", ("gateway", "gpu-box")) == LOOPBACK_NAMES | {"gateway", "gpu-box"}
    assert "evil.example" not in (answered_names("127.0.0.1", ("*",)) or ())


def test_a_name_can_be_added_and_any_name_allowed() -> None:
    Origins({"tunedeck.example.com"}, (), ()).check_host("tunedeck.example.com:443")
    Origins(None, (), ()).check_host("anything")
