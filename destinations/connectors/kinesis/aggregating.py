"""A sender that packs records in the KPL's format before they are sent: fewer of Kinesis's records for many small ones.

What is packed together has to belong to one shard, by each record's own partition key: the KCL drops an aggregated
record as a whole when a key in it is not in the range of the shard that it was read from. So the shards are asked for,
and what landed elsewhere, because they changed meanwhile, is sent again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

from django.utils.translation import gettext_noop as _

from ..base import Delivered, Record, Result
from .aggregation import OVERHEAD, RECORD_OVERHEAD, encode
from .errors import KinesisError
from .failures import Answer
from .sender import KinesisSender, again, size_of
from .shards import ShardMap

# Bytes of an aggregated record with its partition key: the KPL's own choice. Larger ones would save nothing, as Kinesis
# charges by 25 KB, and more would have to be sent again when a shard is throttled.
MAX_AGGREGATE = 51_200
WRONG_SHARD = _("Packed for one shard and taken by another, where consumers would drop it.")


@dataclass(slots=True)
class _Parcel:
    """What is sent as one record of Kinesis.

    Args:
        shard: that its records belong to; empty for one that is sent as it is.
        records: with their places in the batch.
    """

    shard: str
    records: list[tuple[int, Record]] = field(default_factory=list)
    size: int = OVERHEAD

    def is_packed(self) -> bool:
        return len(self.records) > 1

    def record(self) -> Record:
        """One alone is sent as it is, as the KPL does: every consumer can read it."""
        first = self.records[0][1]
        if not self.is_packed():
            return first
        return Record(first.partition_key, encode([record for _, record in self.records]))


class AggregatingSender:
    """Packs, and has another sender send. Not shared between threads."""

    batch_size: ClassVar[int] = KinesisSender.batch_size

    def __init__(self, sender: KinesisSender) -> None:
        self._sender = sender
        self._shards: ShardMap | None = None
        self._spread = False  # the stream was seen to spread records whatever their key

    def send(self, records: Sequence[Record]) -> list[Result]:
        """See :meth:`destinations.connectors.base.Sender.send`.

        Packed records share a sequence number: their results tell the place of each in the aggregated record, too. To a
        stream that spreads records by itself they are sent as they are, since nothing can be packed for a shard.
        """
        if self._spread or self._sender.ignores_keys():
            return self._sender.send(records)
        try:
            self._shards = self._shards or self._sender.shards()
        except KinesisError as error:
            if error.answer not in (Answer.THROTTLED, Answer.AGAIN):
                raise
            failed = replace(again(error.code, error.message, error.answer), maybe_taken=False)
            return [failed] * len(records)
        parcels = _pack(records, self._shards)
        answers = self._sender.send([parcel.record() for parcel in parcels])
        if any(_strayed(parcel, answer) for parcel, answer in zip(parcels, answers, strict=True)):
            self._ask_again(parcels, answers)
        results: dict[int, Result] = {}
        for parcel, answer in zip(parcels, answers, strict=True):
            places = [place for place, _ in parcel.records]
            results.update(zip(places, self._results(parcel, answer), strict=True))
        return [results[place] for place in range(len(records))]

    def close(self) -> None:
        self._sender.close()

    def _ask_again(self, parcels: Sequence[_Parcel], answers: Sequence[Result]) -> None:
        """Ask for the shards once more. Where they are what they were, the stream goes by something else than keys."""
        try:
            self._shards = self._sender.shards()
        except KinesisError:
            self._shards = None
            return
        for parcel, answer in zip(parcels, answers, strict=True):
            if (
                _strayed(parcel, answer)
                and self._shards.shard_of(parcel.records[0][1].partition_key) == parcel.shard
            ):
                self._spread = True

    def _results(self, parcel: _Parcel, answer: Result) -> list[Result]:
        count = len(parcel.records)
        if not isinstance(answer, Delivered) or not parcel.is_packed():
            return [answer] * count
        if _strayed(parcel, answer) and not self._are_at_home(parcel, answer.shard):
            return [again("WrongShard", WRONG_SHARD, Answer.AGAIN)] * count
        return [Delivered(answer.shard, answer.sequence_number, number) for number in range(count)]

    def _are_at_home(self, parcel: _Parcel, shard: str) -> bool:
        shards = self._shards
        return shards is not None and all(
            shards.holds(shard, record.partition_key) for _, record in parcel.records
        )


def _strayed(parcel: _Parcel, answer: Result) -> bool:
    return parcel.is_packed() and isinstance(answer, Delivered) and answer.shard != parcel.shard


def _pack(records: Sequence[Record], shards: ShardMap) -> list[_Parcel]:
    """The records of each shard together, in their order; alone what is too large, or can't be sent at all."""
    parcels: list[_Parcel] = []
    filling: dict[str, _Parcel] = {}  # the last of each shard
    for place, record in enumerate(records):
        size = size_of(record)
        shard = shards.shard_of(record.partition_key) if size is not None else ""
        size = (size or 0) + RECORD_OVERHEAD
        parcel = filling.get(shard)
        if parcel is None or parcel.size + size > MAX_AGGREGATE or not shard:
            # The first key is sent beside the data, too.
            parcel = filling[shard] = _Parcel(shard, size=OVERHEAD + 4 * len(record.partition_key))
            parcels.append(parcel)
        parcel.records.append((place, record))
        parcel.size += size
    return parcels
