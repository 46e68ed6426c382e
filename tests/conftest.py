"""Fixtures for everybody. Those that start real servers are in tests/services.py."""

from __future__ import annotations
