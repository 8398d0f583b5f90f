"""docker-compose.yml's services as processes, in a folder of what a host would have beside the file."""

from pathlib import Path

from tests.images.compose import services
from tests.images.container import Container
from tests.images.images import Images
from tests.images.network import Network

ONCE_SECONDS = 120.0
HEALTHY_SECONDS = 120.0


class Deployment:
    """Several compose files make one, as by `docker compose -f … -f …`."""

    def __init__(
        self, folder: Path, images: Images, *files: Path, passed: dict[str, str] | None = None
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.network = Network(folder)
        self.services = services(*files)
        self._images = images
        self._passed = passed or {}
        self._running: list[Container] = []

    def run(self, name: str, *arguments: str) -> str:
        """`docker compose run`: a service that ends; what it has written."""
        container = self._make(name, list(arguments))
        assert container.wait(ONCE_SECONDS) == 0, container.log
        return container.log

    def up(self, name: str) -> Container:
        """One more container of a service, started and healthy."""
        container = self._make(name)
        container.wait_until_healthy(HEALTHY_SECONDS)
        return container

    def close(self) -> None:
        """`docker compose down`."""
        for container in reversed(self._running):
            container.stop()
        self.network.close()

    def _make(self, name: str, arguments: list[str] | None = None) -> Container:
        container = Container(
            name, self.services[name], self._images[name], self.network, self.folder, self._passed
        )
        container.start(arguments)
        self._running.append(container)
        return container
