"""docs/api.md as data: requests, parameters, examples; and whether an answer has the shape of an example."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "api.md"

_HEADING = re.compile(r"^#{2,4} (?P<title>.+)$", re.MULTILINE)
_OPERATION = re.compile(r"^(?P<method>GET|POST|DELETE) `(?P<path>[^`]+)`")
_BLOCK = re.compile(r"^```(?P<language>\w+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
_PARAMETER = re.compile(
    r"^- `(?P<name>\w+)`(?: \((?P<need>required|optional)\))?: .*?(?:\(default: (?P<default>\d+)\))?$",
    re.MULTILINE,
)
_STATUS = re.compile(r"^\| (?P<code>\d{3}) \|", re.MULTILINE)
_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
_MORE = "// ..."

NULLABLE = {
    # Nobody can know them: a machine without the sensor, a model whose publisher does not say.
    *("gpu_temp", "cpu_temp", "temperatures.gpu", "temperatures.cpu"),
    *("parameters", "contextLength", "license", "downloadSize"),
    # A job that has not started.
    "training.startedAt",
}
MEASURED = {"gpu_temp", "cpu_temp", "temperatures.gpu", "temperatures.cpu"}
"""Written as integers, but sensors have tenths."""


@dataclass(frozen=True)
class Section:
    """A heading, the text below it, and its fenced blocks: (language, text)."""

    title: str
    text: str

    @property
    def blocks(self) -> list[tuple[str, str]]:
        return [(found["language"], found["text"]) for found in _BLOCK.finditer(self.text)]

    def block(self, language: str) -> str:
        """The first block in a language."""
        return next(text for found, text in self.blocks if found == language)


@dataclass(frozen=True)
class Parameter:
    """A documented parameter; `default` is None where the document has none."""

    name: str
    is_required: bool
    default: int | None


@dataclass(frozen=True)
class Operation:
    """A documented request with the example of its answer; None where the document has none."""

    method: str
    path: str
    target: str
    content_type: str | None
    body: Any
    example: Any
    parameters: list[Parameter]

    @property
    def name(self) -> str:
        """`GET /api/models`."""
        return f"{self.method} {self.path}"


def sections() -> list[Section]:
    """The document's sections in order."""
    text = DOCUMENT.read_text()
    headings = list(_HEADING.finditer(_without_blocks(text)))
    ends = [one.start() for one in headings[1:]] + [len(text)]
    return [
        Section(heading["title"], text[heading.end() : end])
        for heading, end in zip(headings, ends, strict=True)
    ]


def section(title: str) -> Section:
    """The section whose heading ends so."""
    return next(one for one in sections() if one.title.endswith(title))


def operations() -> list[Operation]:
    """Every documented HTTP request, in the document's order."""
    found = [(one, _OPERATION.match(one.title)) for one in sections()]
    return [_operation(one, match["path"]) for one, match in found if match]


def operation(name: str) -> Operation:
    """One by its name."""
    return next(one for one in operations() if one.name == name)


def status_codes() -> list[int]:
    """The table of HTTP status codes."""
    return [int(found["code"]) for found in _STATUS.finditer(section("HTTP Status Codes").text)]


def example(text: str) -> Any:
    """A JSON example; its `// ...` remarks stand for more keys."""
    remarks_gone = re.sub(rf"^\s*{_MORE}.*$", "", text, flags=re.MULTILINE)
    return json.loads(re.sub(r",(\s*[}\]])", r"\1", remarks_gone))


def differences(expected: Any, answer: Any, path: str = "") -> Iterator[str]:
    """What of the example's keys and types the answer lacks; more keys are no difference.

    An integer answers an integer, any number a number with a point, a moment in ISO 8601 with a Z a moment.
    Each item of a list has the shape of the example's first; a list of objects has at least one.
    Only what `NULLABLE` lists may be null.
    """
    where = path or "the answer"
    if answer is None and _is_in(NULLABLE, path):
        return
    if isinstance(expected, dict) and isinstance(answer, dict):
        for key, value in expected.items():
            if key in answer:
                yield from differences(value, answer[key], f"{path}.{key}".lstrip("."))
            else:
                yield f"{where} lacks {key!r}"
    elif isinstance(expected, list) and isinstance(answer, list):
        if not answer and expected and isinstance(expected[0], dict):
            yield f"{where} is empty"
        for number, item in enumerate(answer if expected else []):
            yield from differences(expected[0], item, f"{path}[{number}]")
    elif not _same_kind(expected, answer, is_measured=_is_in(MEASURED, path)):
        yield f"{where} is {answer!r}, where the document has {expected!r}"


def _same_kind(expected: Any, answer: Any, *, is_measured: bool) -> bool:
    if isinstance(expected, float) or is_measured:
        return isinstance(answer, int | float) and not isinstance(answer, bool)
    if isinstance(expected, str) and _MOMENT.fullmatch(expected):
        return isinstance(answer, str) and _MOMENT.fullmatch(answer) is not None
    return type(answer) is type(expected)


def _is_in(paths: set[str], path: str) -> bool:
    """Whether one of the paths is the end of this one, key by key."""
    keys = re.sub(r"\[\d+\]", "", path).split(".")
    return any(".".join(keys[-count:]) in paths for count in (1, 2))


def _operation(one: Section, path: str) -> Operation:
    head, _, body = one.block("http").partition("\n\n")
    request_line, *header_lines = head.strip().splitlines()
    method, target = request_line.split(" ", 1)
    content_type = dict(line.split(": ", 1) for line in header_lines).get("Content-Type")
    answers = [text for language, text in one.blocks if language == "json"]
    parameters = [
        Parameter(
            found["name"],
            is_required=found["need"] != "optional",
            default=int(found["default"]) if found["default"] else None,
        )
        for found in _PARAMETER.finditer(one.text)
    ]
    return Operation(
        method=method,
        path=path,
        target=target,
        content_type=content_type,
        body=example(body) if content_type == "application/json" else None,
        example=example(answers[0]) if answers else None,
        parameters=parameters,
    )


def _without_blocks(text: str) -> str:
    return _BLOCK.sub(lambda block: re.sub(r"[^\n]", " ", block[0]), text)
