"""An uploaded file on its way into the blob store, checked by the catalog while it arrives."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any, TypeVar

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError

from tunedeck_chassis.blobs import CHUNK_BYTES, new_blob_id
from tunedeck_chassis.bus import RawReply
from tunedeck_contracts import rpc
from tunedeck_contracts.datasets import CheckUpload
from tunedeck_contracts.errors import Unavailable
from tunedeck_contracts.ids import new_upload_uid
from tunedeck_contracts.message import Message
from tunedeck_gateway.bridge import Gateway
from tunedeck_gateway.uploads import FileUpload

Sent = TypeVar("Sent", bound=Message)

UPLOAD_LIFETIME = timedelta(hours=24)
# The catalog follows a file as long as it grows; the file's own time limit starts with its end.
_LONGEST_UPLOAD = 24 * 3600.0
_LAST_TRY_SECONDS = 10.0


class Intake:
    """Stores one upload and has it checked. `upload_id` is the id that the catalog keeps it under."""

    def __init__(self, gateway: Gateway, upload: FileUpload) -> None:
        self._gateway = gateway
        self._upload = upload
        self._blob_id = new_blob_id()
        self._asked: CheckUpload | None = None
        self._early: asyncio.Task[RawReply] | None = None
        self.upload_id = new_upload_uid()

    async def run(self) -> RawReply:
        """What the catalog says of the whole file.

        Raises:
            PayloadTooLarge, BadRequest: as `FileUpload.chunks`; nothing of the file stays.
            RequestValidationError: a field of the form is not valid; as early as it is known.
        """
        try:
            await self._gateway.blobs.put(
                self._passing(), filename="upload", keep_for=UPLOAD_LIFETIME, blob_id=self._blob_id
            )
            return await self._reply()
        finally:
            if self._early is not None:
                self._early.cancel()

    async def _passing(self) -> AsyncIterator[bytes]:
        size = 0
        async for chunk in self._upload.chunks():
            if size == 0:
                self._asked = self._check()
            size += len(chunk)
            if self._early is None and self._asked is not None and size >= CHUNK_BYTES:
                request = self._gateway.bus.forward(
                    rpc.UPLOAD_CHECK, self._asked.to_json(), timeout=_LONGEST_UPLOAD
                )
                self._early = asyncio.create_task(request)
            yield chunk

    async def _reply(self) -> RawReply:
        deadline = asyncio.get_running_loop().time() + rpc.UPLOAD_CHECK.timeout
        try:
            check = self._check()
        except RequestValidationError:
            await self._gateway.blobs.delete(self._blob_id)
            raise
        if self._early is not None and check == self._asked:
            try:
                async with asyncio.timeout_at(deadline - _LAST_TRY_SECONDS):
                    reply = await self._early
            except (Unavailable, TimeoutError):
                reply = None
            if reply is not None and reply.status != Unavailable.status_code:
                return reply
        # A field came after the file and changes the check, or it broke off: the file is whole now.
        left = deadline - asyncio.get_running_loop().time()
        return await self._gateway.bus.forward(rpc.UPLOAD_CHECK, check.to_json(), timeout=left)

    def _check(self) -> CheckUpload:
        form = {name: text for name, text in self._upload.form().items() if text}
        given = {name: form[name] for name in CheckUpload.model_fields if name in form}
        own = {"upload_id": self.upload_id, "filename": self._upload.filename, "blob_id": self._blob_id}
        return validated(CheckUpload, {**given, **own})


def validated(kind: type[Sent], fields: dict[str, Any]) -> Sent:
    """A message out of a form's fields.

    Raises:
        RequestValidationError: all that is wrong with them.
    """
    try:
        return kind.model_validate(fields)
    except ValidationError as error:
        raise _invalid(error) from None


async def read_json(kind: type[Sent], request: Request) -> Sent:
    """A message out of a JSON body, for a route that takes other bodies too.

    Raises:
        RequestValidationError: all that is wrong with it.
    """
    try:
        return kind.model_validate_json(await request.body())
    except ValidationError as error:
        raise _invalid(error) from None


def _invalid(error: ValidationError) -> RequestValidationError:
    found = error.errors(include_url=False, include_context=False)
    return RequestValidationError([{**one, "loc": ("body", *one["loc"])} for one in found])
