"""Finds the fastest way to run a model on this machine that still answers as the model would."""
