"""The registry of destination types: every package in this folder that has a ``spec``.

A package with a ``connector`` too can be set up; one with only a ``spec`` is shown in the catalog as not
available yet.
"""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache

from .base import Connector, Spec


@cache
def _packages() -> dict[str, tuple[Spec, Connector | None]]:
    found: dict[str, tuple[Spec, Connector | None]] = {}
    for info in pkgutil.iter_modules(__path__):
        if info.ispkg:
            module = importlib.import_module(f"{__name__}.{info.name}")
            found[module.spec.slug] = (module.spec, getattr(module, "connector", None))
    return found


def catalog() -> list[Spec]:
    """Every destination type, those that can be set up first, then by name."""
    return sorted(
        (spec for spec, _ in _packages().values()), key=lambda s: (not is_available(s.slug), s.name)
    )


def is_available(slug: str) -> bool:
    return slug in _packages() and _packages()[slug][1] is not None


def get(slug: str) -> Connector:
    """The connector of a destination type.

    Raises:
        KeyError: there is no such type, or it is not available yet.
    """
    connector = _packages()[slug][1]
    if connector is None:
        raise KeyError(slug)
    return connector
