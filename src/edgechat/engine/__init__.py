"""Engines: one binding per file, all of them speaking the contract in base.py."""
