"""The softer findings of a check, in a bounded list."""

MAX_FINDINGS = 100
_NAME_CHARACTERS = 60


class Findings:
    """Keeps the first hundred, counts the rest."""

    def __init__(self) -> None:
        self._listed: list[str] = []
        self._more = 0

    @property
    def room(self) -> int:
        """How many more will be listed."""
        return MAX_FINDINGS - len(self._listed)

    def add(self, finding: str) -> None:
        """One finding with its row."""
        if self.room:
            self._listed.append(finding)
        else:
            self._more += 1

    def count(self, more: int) -> None:
        """Findings that are not listed."""
        self._more += more

    def of_header(self, header: list[str], names: list[str]) -> None:
        """What is odd about the columns, as they are written and as they are used."""
        for position, (name, raw) in enumerate(zip(names, header, strict=True), start=1):
            if not name:
                self.add(f"Row 1: column {position} has no name.")
            elif name != raw:
                self.add(f"Row 1: white space around the column name {quoted(name)} is ignored.")
            if name and name in names[: position - 1]:
                self.add(f"Row 1: the column {quoted(name)} is there more than once.")

    def all(self) -> list[str]:
        """The list, with a last sentence that counts what is not in it."""
        rest = [f"... and {self._more:,} more findings like these."] if self._more else []
        return self._listed + rest


def quoted(name: str) -> str:
    """A column's name in a sentence."""
    return f"'{name}'" if len(name) <= _NAME_CHARACTERS else f"'{name[:_NAME_CHARACTERS]}…'"
