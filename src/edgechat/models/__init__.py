"""The models of one server: what can be asked for, what is loaded, and the processes that it is loaded in."""
