"""Pictures at addresses, fetched for a request where an operator listed their hosts: in a child, and in public only."""
