"""The cache of the rate limits: Redis, so that all web processes count together; while it is away, each for itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import redis
import structlog
from django.core.cache.backends.locmem import LocMemCache
from django.core.cache.backends.redis import RedisCache

log = structlog.get_logger(__name__)


class SharedCache(RedisCache):
    """Redis, or the memory of this process where Redis does not answer: signing in goes on, and stays limited."""

    def __init__(self, server: str, params: dict[str, Any]) -> None:
        super().__init__(server, params)
        self._own = LocMemCache("kinesis-admin", {})

    def _or_own(self, name: str, *args: Any, **kwargs: Any) -> Any:
        shared: Callable[..., Any] = getattr(super(), name)
        try:
            return shared(*args, **kwargs)
        except redis.RedisError as error:
            log.warning("cache_not_shared", error=type(error).__name__)
            return getattr(self._own, name)(*args, **kwargs)

    def get(self, *args: Any, **kwargs: Any) -> Any:
        return self._or_own("get", *args, **kwargs)

    def set(self, *args: Any, **kwargs: Any) -> Any:
        return self._or_own("set", *args, **kwargs)

    def add(self, *args: Any, **kwargs: Any) -> Any:
        return self._or_own("add", *args, **kwargs)

    def incr(self, *args: Any, **kwargs: Any) -> Any:
        return self._or_own("incr", *args, **kwargs)

    def delete(self, *args: Any, **kwargs: Any) -> Any:
        return self._or_own("delete", *args, **kwargs)
