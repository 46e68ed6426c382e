"""Tells people what becomes of their dataflows. watch.py sees it, messages.py sends it; the engine knows of neither."""
