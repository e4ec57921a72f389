"""Backups of the whole server: a verified copy of its files, the stream of what it writes, and the way back.

What does the copying is PostgreSQL's own (``pg_basebackup``, ``pg_receivewal``, ``pg_verifybackup``). A folder holds::

    system                           which server it is of (its system identifier)
    base/2026-11-26T151233.482913Z/  a verified base backup, by the time it was finished (UTC)
    wal/00000001/                    the write-ahead log by timeline, a file each 16 MiB, the newest one ``.partial``

A base backup costs reading and writing the whole server once, and as much room; the stream costs as much as the server
writes (some 130 to 160 bytes a reading). Restoring costs copying one backup and replaying the log after it.
"""
