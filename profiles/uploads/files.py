"""Uploaded files in the database, in parts."""

from __future__ import annotations

import io
from typing import Any, BinaryIO

from django.core.files.uploadedfile import UploadedFile
from django.core.files.uploadhandler import TemporaryFileUploadHandler
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from profiles.models import Upload, UploadPart

MAX_BYTES = 256 * 1024 * 1024
PART = 1024 * 1024  # bytes
BUFFER = 64 * 1024
HEAD = 256 * 1024

# What people upload in the belief that it is a CSV, by its first bytes.
NO_TEXT: tuple[tuple[bytes, str | Promise], ...] = (
    (b"PK\x03\x04", _("This is an Excel workbook or a ZIP file. Save the sheet as “CSV UTF-8” and upload that.")),
    (b"\xd0\xcf\x11\xe0", _("This is an old Excel workbook. Save the sheet as “CSV UTF-8” and upload that.")),
    (b"\x1f\x8b", _("This file is compressed with gzip. Unpack it and upload the CSV.")),
    (b"%PDF", _("This is a PDF, not a CSV.")),
)  # fmt: skip


class LimitedUploadHandler(TemporaryFileUploadHandler):
    """Keeps files of any form on disk, but no more of one than :data:`MAX_BYTES`.

    One that is longer still tells its whole size: whoever takes files refuses it by that.
    """

    def receive_data_chunk(self, raw_data: bytes, start: int) -> None:
        if start < MAX_BYTES:
            super().receive_data_chunk(raw_data, start)


def store(upload: Upload, file: UploadedFile[bytes]) -> bytes:
    """Copy a file into the database, in the current transaction; a part is in memory.

    Returns:
        The part that tells most of its encoding: the first one that is not ASCII, or the first.
    """
    sample = b""
    file.seek(0)
    for number, data in enumerate(iter(lambda: file.read(PART), b"")):
        UploadPart.objects.create(upload=upload, number=number, data=data)
        if not sample or (sample.isascii() and not data.isascii()):
            sample = data
    return sample


def head(upload: Upload) -> bytes:
    """The beginning of the file."""
    return opened(upload).read(HEAD)


def opened(upload: Upload) -> BinaryIO:
    """The file of an upload, to read and seek in; one part of it is in memory. A query a part."""
    return io.BufferedReader(_Stored(upload), BUFFER)


class _Stored(io.RawIOBase):
    def __init__(self, upload: Upload) -> None:
        self.upload = upload
        self.at = 0
        self._number, self._data = -1, b""

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self.at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self.at, io.SEEK_END: self.upload.size}[whence]
        return self.at

    def tell(self) -> int:
        return self.at

    def readinto(self, buffer: Any) -> int:
        number, offset = divmod(self.at, PART)
        if number != self._number:
            parts = self.upload.parts.filter(number=number).values_list("data", flat=True)
            self._number, self._data = number, bytes(next(iter(parts), b""))
        data = self._data[offset : offset + len(buffer)]
        buffer[: len(data)] = data
        self.at += len(data)
        return len(data)
