"""The KPL's aggregated record: many records, each with its partition key, in one of Kinesis.

The format is a protobuf message between a magic number and its MD5, frozen since 2014, and needs two kinds of fields:
https://github.com/awslabs/amazon-kinesis-producer/blob/master/aggregation-format.md. The KCL, Lambda through AWS's
libraries, and Firehose take it apart again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from functools import lru_cache

from ..base import Record

MAGIC = b"\xf3\x89\x9a\xc2"
MD5_BYTES = 16

# What precedes a field: its number << 3 | its wire type, 0 for a number and 2 for bytes with their length.
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_PARTITION_KEY, _RECORD = 1, 3  # of the message
_KEY_INDEX, _DATA = 1, 3  # of a record in it

OVERHEAD = len(MAGIC) + MD5_BYTES  # bytes
# Bytes at most that a record adds beside its data and key: four fields (the key, its number, the record, its data),
# each with a byte that says which and a length, or number, of up to four.
RECORD_OVERHEAD = 4 * (1 + 4)


def encode(records: Sequence[Record]) -> bytes:
    """The data of a Kinesis record that holds ``records`` in their order."""
    keys: dict[str, int] = {}  # the place of each in the table
    packed: list[bytes] = []
    for record in records:
        index = keys.setdefault(record.partition_key, len(keys))
        head = _head(_KEY_INDEX, _VARINT, index) + _head(_DATA, _BYTES, len(record.data))
        packed += (_head(_RECORD, _BYTES, len(head) + len(record.data)), head, record.data)
    table = [key.encode() for key in keys]
    message = b"".join([*(_head(_PARTITION_KEY, _BYTES, len(key)) + key for key in table), *packed])
    return MAGIC + message + _md5(message)


def decode(data: bytes) -> list[Record] | None:
    """The records in the data of a Kinesis record; None where it is not an aggregated one."""
    message = data[len(MAGIC) : -MD5_BYTES]
    if not data.startswith(MAGIC) or data[-MD5_BYTES:] != _md5(message):
        return None
    keys: list[str] = []
    records: list[tuple[int, bytes]] = []
    try:
        for number, value in _fields(message):
            if number == _PARTITION_KEY and isinstance(value, bytes):
                keys.append(value.decode())
            elif number == _RECORD and isinstance(value, bytes):
                fields = dict(_fields(value))
                index, content = fields[_KEY_INDEX], fields[_DATA]
                if not isinstance(index, int) or not isinstance(content, bytes):
                    return None
                records.append((index, content))
        return [Record(keys[index], content) for index, content in records]
    except (ValueError, LookupError):
        return None


def _md5(message: bytes) -> bytes:
    return hashlib.md5(message, usedforsecurity=False).digest()


@lru_cache(4096)
def _head(number: int, wire: int, value: int) -> bytes:
    """What a field begins with: which it is, and its length or number. Seven bits a byte, the lowest first; the eighth
    says that more follow.
    """
    out = bytearray([number << 3 | wire])
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """The fields of a message by their number. Raises ValueError or IndexError where it is none."""
    at = 0
    while at < len(message):
        tag, at = _read_varint(message, at)
        number, wire = tag >> 3, tag & 7
        if wire == _VARINT:
            value, at = _read_varint(message, at)
            yield number, value
            continue
        if wire == _BYTES:
            length, at = _read_varint(message, at)
        elif wire in (_FIXED64, _FIXED32):
            length = 8 if wire == _FIXED64 else 4
        else:
            raise ValueError(f"wire type {wire}")
        if at + length > len(message):
            raise ValueError("cut off")
        yield number, message[at : at + length]
        at += length


def _read_varint(message: bytes, at: int) -> tuple[int, int]:
    """A number, and where it ends."""
    value = 0
    for shift in range(0, 64, 7):
        value |= (message[at] & 0x7F) << shift
        at += 1
        if message[at - 1] < 0x80:
            return value, at
    raise ValueError("more than 64 bits")
