"""Before any route: connections, hosts and origins, credentials, places in the queue; each may refuse."""
