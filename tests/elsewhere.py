"""What goes on in other transactions meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Callable

from django.db import connections


class Elsewhere:
    """Something in another transaction, in a thread of its own."""

    def __init__(self, act: Callable[[], object]) -> None:
        self._error: BaseException | None = None
        self._act = act
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._act()
        except BaseException as error:
            self._error = error
        finally:
            connections.close_all()

    def join(self) -> None:
        """Wait for its end, for 20 seconds at most; what it raised is raised here."""
        self._thread.join(timeout=20)
        assert not self._thread.is_alive()
        if self._error is not None:
            raise self._error
