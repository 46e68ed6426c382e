"""Where :func:`requires` was before people had an app of their own."""

from access.guard import requires

__all__ = ["requires"]
