"""Documented ports where they are free."""

import socket

from tunedeck_cli import ports
from tunedeck_cli.ports import ANY, Ports


def test_a_taken_port_is_replaced_and_said() -> None:
    with socket.socket() as taken:
        taken.bind((ports.LOOPBACK, 0))
        taken.listen()
        wanted = Ports(taken.getsockname()[1], ports.free_port(), ports.free_port(), ports.free_port())
        chosen = ports.choose(wanted)
    assert chosen.nats != wanted.nats
    assert (chosen.mongo, chosen.api, chosen.monitor) == (wanted.mongo, wanted.api, wanted.monitor)
    assert ports.differences(wanted, chosen) == [f"Port {wanted.nats} is taken: nats is on {chosen.nats}."]


def test_any_ports_are_four_different_ones() -> None:
    chosen = ports.choose(ANY)
    assert len({chosen.nats, chosen.mongo, chosen.api, chosen.monitor}) == 4
    assert ports.differences(ANY, chosen) == []
