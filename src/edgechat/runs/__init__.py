"""Answers as tasks of the server: a reader may leave and come back, and only a stop ends one early."""
