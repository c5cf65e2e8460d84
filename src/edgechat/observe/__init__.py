"""Observability: logs, error reports, traces, and the bundle that helps to find a fault."""
