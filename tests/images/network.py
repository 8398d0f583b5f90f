"""A network for containers without an engine: a switch in a network namespace of its own."""

import itertools
import subprocess
import sys
from pathlib import Path

from tests.images.compose import read

SUBNET = str(read()["networks"]["edge"]["ipam"]["config"][0]["subnet"]).rpartition(".")[0]
START_SECONDS = 10.0


class Network:
    """Gives each container an address, and its name to all of them in the file `hosts`."""

    def __init__(self, folder: Path) -> None:
        self.hosts = folder / "hosts"
        self._numbers = itertools.count(2)
        self._lines = {"localhost": ["127.0.0.1"]}
        # Bound to this process: with it goes the namespace, and all links in it.
        held = [
            sys.executable,
            "-m",
            "tunedeck_cli.bound",
            "unshare",
            "--net",
            "sh",
            "-c",
            "echo up; exec sleep inf",
        ]
        self._holder = subprocess.Popen(held, stdout=subprocess.PIPE)
        assert self._holder.stdout is not None
        with self._holder.stdout as said:
            said.readline()
        for words in (
            "link set lo up",
            "link add switch type bridge",
            f"address add {SUBNET}.1/24 dev switch",
            "link set switch up",
        ):
            self._ip(self._holder.pid, words)
        self._write()

    def attach(self, pid: int, name: str) -> str:
        """A link for the namespace of a process, which others reach by the name; the address."""
        number = next(self._numbers)
        address = f"{SUBNET}.{number}"
        self._ip(self._holder.pid, f"link add port{number} type veth peer name eth0 netns {pid}")
        self._ip(self._holder.pid, f"link set port{number} master switch up")
        for words in (f"address add {address}/24 dev eth0", "link set eth0 up", "link set lo up"):
            self._ip(pid, words)
        self._lines.setdefault(name, []).append(address)
        self._write()
        return address

    def forget(self, name: str, address: str) -> None:
        """A container ended."""
        self._lines[name].remove(address)
        self._write()

    def run(self, command: list[str], seconds: float) -> subprocess.CompletedProcess[str]:
        """A command of this machine, beside the containers."""
        return subprocess.run(
            [*self.entered(self._holder.pid), *command],
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )

    def close(self) -> None:
        """Take it down."""
        self._holder.kill()
        self._holder.wait()

    @staticmethod
    def entered(pid: int) -> list[str]:
        """What runs a command in the network of a process."""
        return ["nsenter", "--target", str(pid), "--net"]

    def _ip(self, pid: int, words: str) -> None:
        subprocess.run([*self.entered(pid), "ip", *words.split()], check=True, timeout=START_SECONDS)

    def _write(self) -> None:
        lines = [f"{address} {name}\n" for name, all_ in self._lines.items() for address in all_]
        # Into the same file: the containers have it, and not its name.
        with self.hosts.open("w") as opened:
            opened.write("".join(lines))
