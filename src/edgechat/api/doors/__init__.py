"""Middleware and what stands before it: connections, hosts and origins, credentials, places in the queue."""
