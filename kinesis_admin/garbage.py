"""Python's collector of garbage, in processes that work by batches."""

from __future__ import annotations

import gc


def collect_less_often() -> None:
    """Pass over what is there by now, and look only now and then for cycles in what comes.

    A batch is a hundred thousand objects without a cycle among them. Looking for cycles after every 700 new ones, in
    all of Django, too, takes a third of the time. Call it when everything is loaded.
    """
    gc.freeze()
    gc.set_threshold(100_000, 20, 20)
