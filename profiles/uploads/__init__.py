"""Uploaded segments: a CSV of identities says who is in a segment.

1. files.py takes the file in, part by part, and puts it into the database: web processes and workers may be on
   different machines, and a backup takes file and progress together. The parts are deleted when it has been read.
2. detect.py says how it is written, rows.py reads it row by row from any place, values.py makes of a row an identity
   and attributes, or says to a marketer why not.
3. work.py, in a worker, takes batch after batch to :func:`profiles.ingest.ingest`. Members, counts, rejected rows and
   the place in the file are one transaction: whoever follows a killed worker goes on behind the last batch.

A row's customer qualifies at the moment when the upload began. So those who are not in the file are the members whose
last qualification is older, and members expire by the same date: no list of either is kept.
"""
