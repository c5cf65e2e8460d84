"""Conversations that are kept: one SQLite file, one writer, acknowledged after COMMIT.

store.py runs functions of the other files against the database: `history.write(turns.begin, …)`. Those functions take
an open connection first, contain the SQL and nothing else, and every one filters by `owner`. files.py keeps the bytes
of attachments beside it.
"""
