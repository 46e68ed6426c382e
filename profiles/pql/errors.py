"""What is wrong with a rule, and where."""

from __future__ import annotations


class PQLError(ValueError):
    """A rule that can't be; the message is for the person who wrote it, in their language.

    Args:
        message: what is wrong, or what was expected.
        text: the rule.
        position: the character it is about, from 0; the length of the text for its end.
    """

    def __init__(self, message: str, text: str, position: int) -> None:
        super().__init__(message)
        self.message = message
        self.position = position
        self.line = text.count("\n", 0, position) + 1
        self.column = position - (text.rfind("\n", 0, position) + 1) + 1
