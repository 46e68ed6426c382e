"""An error as Kinesis answers it."""

from __future__ import annotations


class ApiError(Exception):
    """Answered with HTTP status ``status`` and ``{"__type": code, "message": message}``."""

    def __init__(self, code: str, message: str, status: int = 400) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.status = status


def not_satisfied(value: object, at: str, constraint: str) -> ApiError:
    """A ``ValidationException`` in AWS's wording."""
    shown = "" if value is None else f" '{value}'"
    return ApiError(
        "ValidationException",
        f"1 validation error detected: Value{shown} at '{at}' failed to satisfy constraint: Member must "
        f"{constraint}",
    )
