"""Measurements: ``make bench``. README.md has the figures and what they mean."""
