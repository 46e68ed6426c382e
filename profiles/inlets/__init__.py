"""Inlets: profiles over HTTP, as AEP's streaming ingestion takes them, and the pages where inlets are made.

``collection`` (the HTTP API: who may, how much, what is answered) → ``messages`` (a message as a fragment) → ``intake``
(one transaction: what is new, :func:`profiles.ingest.ingest`, the counts). ``limit`` is the rate limit; ``services``,
``selectors``, ``forms`` and ``views`` are those of the pages.
"""
