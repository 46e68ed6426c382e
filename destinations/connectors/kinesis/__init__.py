"""Amazon Kinesis Data Streams: all that knows Kinesis is in this folder, and nothing else does.

``endpoint`` where requests may go · ``client`` and ``errors`` how AWS is called and what it answers ·
``regions`` · ``forms`` what people fill in · ``destination_type`` the checks and the streams · ``sender``
writes · ``reader`` reads back · ``local`` a Kinesis of our own.
"""

from ..base import Connector
from .destination_type import KinesisConnector, spec

connector: Connector = KinesisConnector()

__all__ = ["connector", "spec"]
