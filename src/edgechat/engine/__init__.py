"""Engines: base.py is the contract; a room or a file for each that speaks it."""
