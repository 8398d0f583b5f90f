"""Sends a folder to the Hub by huggingface_hub's own client.

The Hub is that of HF_ENDPOINT, the account that of HF_TOKEN; both are of this machine's environment alone.
"""

from json import JSONDecodeError
from pathlib import Path
from typing import Any

from tunedeck_contracts.message import Message
from tunedeck_contracts.model_saving import PUSH_HINTS, HubPush, PushProblem, PushState
from tunedeck_trainer import side_answer
from tunedeck_trainer.process import hub_token, is_sendable


class Upload(Message):
    """What is to be sent, and to where."""

    folder: Path
    repository: str
    public: bool
    summary: str


class IsPublic(Exception):
    """The repository is, and must not be: nothing is sent."""


def failed(asked: Upload, problem: PushProblem, detail: str) -> HubPush:
    """How a push ended that did not reach the Hub."""
    return HubPush(
        state=PushState.FAILED,
        repository=asked.repository,
        public=asked.public,
        problem=problem,
        detail=detail,
        hint=PUSH_HINTS[problem],
    )


def pushed(asked: Upload) -> HubPush:
    """Make the repository if it is not there, and put the folder's files there in one commit."""
    token = hub_token()
    if not token:
        sentence = "This trainer has no HF_TOKEN, so the Hub takes nothing from it."
        return failed(asked, PushProblem.NO_TOKEN, sentence)
    if not is_sendable(token):
        sentence = "This trainer's HF_TOKEN has characters that no token has, so it was not sent to the Hub."
        return failed(asked, PushProblem.NO_TOKEN, sentence)
    from httpx2 import HTTPError
    from huggingface_hub import HfApi, constants
    from huggingface_hub.errors import HfHubHTTPError

    # The client's way over Xet makes several commits of a large folder: broken off, it leaves half a model.
    constants.HF_HUB_DISABLE_XET = True
    try:
        return _sent(HfApi(token=token), asked)
    except HfHubHTTPError as error:
        status = error.response.status_code
        is_away = status >= 500 or status == 429
        problem = PushProblem.HUB_UNAVAILABLE if is_away else PushProblem.REFUSED
        return failed(asked, problem, f"The Hub answered with {status}: {_said(error)}")
    except IsPublic as error:
        return failed(asked, PushProblem.IS_PUBLIC, str(error))
    except JSONDecodeError:
        sentence = f"What answers at the Hub's address, {constants.ENDPOINT}, is no Hub: it speaks no JSON."
        return failed(asked, PushProblem.HUB_UNAVAILABLE, sentence)
    except (HTTPError, OSError) as error:
        return failed(asked, PushProblem.HUB_UNAVAILABLE, f"The Hub could not be reached: {_said(error)}")
    except (ValueError, KeyError, RuntimeError) as error:
        # ValueError: the Hub takes the model card for none.
        return failed(asked, PushProblem.UNKNOWN, f"The Hub's client gave up: {_said(error)}")


def _sent(api: Any, asked: Upload) -> HubPush:
    name = asked.repository
    repository = name if "/" in name else f"{api.whoami()['name']}/{name}"
    api.create_repo(repository, private=not asked.public, exist_ok=True)
    _check_visibility(api, repository, asked.public)
    commit = api.upload_folder(
        repo_id=repository, folder_path=asked.folder, commit_message=asked.summary, run_as_future=False
    )
    return HubPush(
        state=PushState.PUSHED,
        repository=repository,
        public=asked.public,
        url=f"{api.endpoint}/{repository}",
        commit=commit.oid,
    )


def _check_visibility(api: Any, repository: str, public: bool) -> None:
    """A repository that was there before keeps its visibility, which may be none that is wanted."""
    is_public = not api.model_info(repository).private
    if is_public and not public:
        raise IsPublic(
            f"The repository {repository!r} is there already and is public, and makePublic is false: "
            "nothing was sent."
        )
    if public and not is_public:
        api.update_repo_settings(repository, private=False)


def _said(error: Exception) -> str:
    """huggingface_hub writes paragraphs: in one line, not all of a page, and never with the token."""
    causes = [str(one) or type(one).__name__ for one in (error, error.__cause__) if one is not None]
    said = " ".join(" ".join(causes).split())
    token = hub_token()
    return (said.replace(token, "HF_TOKEN") if token else said)[:500]


def main() -> int:
    """Answer on standard output what standard input asks; the exit status."""
    return side_answer.answer(Upload, pushed)
