"""Documented ports where they are free."""

import socket
from pathlib import Path

import pytest

from tunedeck_cli import ports
from tunedeck_cli.errors import CommandFailed
from tunedeck_cli.home import Home
from tunedeck_cli.main import ALONE
from tunedeck_cli.ports import ANY, Ports
from tunedeck_cli.stack import Stack
from tunedeck_gateway.app import is_on
from tunedeck_gateway.settings import GatewaySettings


def test_a_taken_port_is_replaced_and_said() -> None:
    with socket.socket() as taken:
        taken.bind((ports.LOOPBACK, 0))
        taken.listen()
        wanted = Ports(taken.getsockname()[1], ports.free_port(), ports.free_port(), ports.free_port())
        chosen = ports.choose(wanted)
    assert chosen.nats != wanted.nats
    assert (chosen.mongo, chosen.api, chosen.monitor) == (wanted.mongo, wanted.api, wanted.monitor)
    assert ports.differences(wanted, chosen) == [f"Port {wanted.nats} is taken: nats is on {chosen.nats}."]


def test_free_ports_are_none_that_a_connection_may_have_while_a_server_restarts() -> None:
    chosen = ports.choose(ANY)
    found = {chosen.nats, chosen.mongo, chosen.api, chosen.monitor, chosen.nats_health}
    assert len(found) == 5
    with socket.create_server((ports.LOOPBACK, 0)) as server:
        for _ in range(20):
            with socket.create_connection(server.getsockname()) as connection:
                assert connection.getsockname()[1] > max(found)


def test_a_port_is_looked_for_where_its_server_will_listen() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.2", 0))
        taken.listen()
        wanted = Ports(nats=0, mongo=taken.getsockname()[1], api=taken.getsockname()[1], monitor=0)
        chosen = ports.choose(wanted, "127.0.0.2")
    assert chosen.mongo == wanted.mongo, "on loopback it is free"
    assert chosen.api != wanted.api
    with pytest.raises(CommandFailed, match="TUNEDECK_HOST"):
        ports.choose(ANY, "192.0.2.1")


@pytest.mark.parametrize(
    ("host", "reached"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("0.0.0.0", "127.0.0.1"),
        ("::", "[::1]"),
        ("fd00::5", "[fd00::5]"),
        ("192.168.1.5", "192.168.1.5"),
        ("gpu-box", "gpu-box"),
    ],
)
def test_a_stack_is_asked_where_it_listens(
    host: str, reached: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TUNEDECK_HOST", host)
    stack = Stack(Home(tmp_path), wanted=Ports())
    assert (stack.api_url, stack.monitor_url) == (f"http://{reached}:8000", f"http://{reached}:8001")
    assert stack.service_environment()["TUNEDECK_HOST"] == host


def test_the_demo_asks_for_no_key_whatever_is_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"TUNEDECK_HOST": "0.0.0.0", "TUNEDECK_AUTH": "on", "TUNEDECK_LIMITS": "on"}.items():
        monkeypatch.setenv(name, value)
    stack = Stack(Home(tmp_path), wanted=Ports(), environment=ALONE)
    assert stack.api_url == "http://127.0.0.1:8000"
    for name, value in stack.service_environment().items():
        monkeypatch.setenv(name, value)
    settings = GatewaySettings()
    assert settings.host == "127.0.0.1"
    assert not is_on(settings.auth, settings) and not is_on(settings.limits, settings)


def test_any_ports_are_four_different_ones() -> None:
    chosen = ports.choose(ANY)
    assert len({chosen.nats, chosen.mongo, chosen.api, chosen.monitor}) == 4
    assert ports.differences(ANY, chosen) == []
