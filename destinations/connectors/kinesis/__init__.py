"""Amazon Kinesis Data Streams: all that knows Kinesis is in this folder, and nothing else does.

``endpoint`` where requests may go · ``client`` and ``errors`` how AWS is called and what it answers · ``failures`` what
is done about it · ``regions`` · ``forms`` what people fill in · ``destination_type`` the checks and the streams ·
``stream`` limits · ``sender`` writes, by ``put_records`` · ``aggregating`` packs before it, in the format of
``aggregation``, for the ``shards`` · ``reader`` reads back · ``local`` a Kinesis of our own.
"""

from ..base import Connector
from .destination_type import KinesisConnector, spec

connector: Connector = KinesisConnector()

__all__ = ["connector", "spec"]
