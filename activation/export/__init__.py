"""The export engine, a file a station on the way of a profile change.

``triggers`` (which dataflows are concerned) → ``outbox`` (rows in the transaction of the change) → ``delivery`` (a
batch of a lane, again and again) → ``records`` (the bytes) → the connector's sender → ``settle`` (what became of each
row).
"""
