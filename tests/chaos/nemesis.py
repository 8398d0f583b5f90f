"""What is done to the stack: processes killed or stopped by pid, in an order that a seed gives."""

import os
import random
import signal
import time
import xmlrpc.client
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import psutil
from supervisor.xmlrpc import SupervisorTransport

from tests.support.servers import wait_for
from tunedeck_cli.stack import Stack

CHILD = "training child"
SERVICES = ("gateway", "catalog", "jobs", "telemetry", "trainer")
SERVERS = ("nats", "mongod")
VICTIMS = (*SERVICES, CHILD, *SERVERS)
BACK_SECONDS = 60.0
THERE_SECONDS = 10.0


@dataclass(frozen=True)
class Kill:
    """Who is killed, how many seconds after the kill before."""

    victim: str
    after: float


def plan(seed: int, count: int, most_seconds: float) -> list[Kill]:
    """So many kills, spread evenly over all victims; the same for the same seed."""
    chance = random.Random(seed)
    victims = [VICTIMS[number % len(VICTIMS)] for number in range(count)]
    chance.shuffle(victims)
    return [Kill(victim, chance.uniform(0.3, most_seconds)) for victim in victims]


class Nemesis:
    """Strikes the processes of one stack."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack

    def carry_out(self, kills: Sequence[Kill]) -> Counter[str]:
        """Kill as planned; return how many of each were. Who is not there, nor soon, is passed over."""
        done: Counter[str] = Counter()
        for kill in kills:
            time.sleep(kill.after)
            with suppress(TimeoutError):
                wait_for(kill.victim, lambda victim=kill.victim: self.kill(victim), THERE_SECONDS)
                done[kill.victim] += 1
        return done

    def kill(self, victim: str) -> bool:
        """SIGKILL; whether there was such a process."""
        pid = self.pid(victim)
        if pid is None:
            return False
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            return False
        return True

    def pid(self, victim: str) -> int | None:
        """The process id of a program, or of the process that trains now."""
        return self._child() if victim == CHILD else self._stack.supervisor.pid(victim)

    @contextmanager
    def away(self, *programs: str) -> Iterator[None]:
        """Stopped in order, and not started by the supervisor before the end."""
        for program in programs:
            self._order("stopProcess", program)
        try:
            yield
        finally:
            for program in reversed(programs):
                self._order("startProcess", program)

    def _order(self, command: str, program: str) -> None:
        transport = SupervisorTransport(None, None, f"unix://{self._stack.home.socket}")
        supervisor = xmlrpc.client.ServerProxy("http://127.0.0.1", transport=transport).supervisor
        getattr(supervisor, command)(f"services:{program}" if program in SERVICES else program)
        transport.close()

    def until_replaced(self, victim: str, former: int, seconds: float = BACK_SECONDS) -> None:
        """Wait until another process has the killed one's place."""
        wait_for(f"another {victim}", lambda: self.pid(victim) not in (None, former), seconds)

    def _child(self) -> int | None:
        trainer = self._stack.supervisor.pid("trainer")
        if trainer is None:
            return None
        try:
            for child in psutil.Process(trainer).children(recursive=True):
                if "tunedeck_trainer.child" in child.cmdline():
                    return int(child.pid)
        except psutil.NoSuchProcess:
            return None
        return None


@contextmanager
def frozen(pid: int) -> Iterator[None]:
    """SIGSTOP for a while, then SIGCONT."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)
