"""A small Kinesis of our own on loopback, for trying the product and for testing it (``manage.py
local_kinesis``).

No emulator fits: moto takes any key, never throttles a shard and never fails a part of a request. Nothing is
stored on disk.
"""

from .server import LocalKinesisServer
from .streams import LocalKinesis

__all__ = ["LocalKinesis", "LocalKinesisServer"]
