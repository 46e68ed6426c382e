"""Segments by rule: who is a member, as data arrives and over the whole store.

The live rules (rules.py) are compiled once and asked in two ways. streaming.py asks those whose fields were written,
of the profiles of a batch that is ingested, in its transaction. store.py asks one rule of every profile: when it was
saved, and from time to time when it asks what time it is. Both end with the same members, whatever happens beside them:

- Whoever writes memberships holds the locks of their profiles, and shares the lock ``INGESTION``.
- Whoever changes a rule has that lock for itself. When the change is committed, nobody goes by the old rule any more,
  and everything that was decided by it is there for the new rule to find.
"""
