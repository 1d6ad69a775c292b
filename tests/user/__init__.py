"""The user service, as it is served, over the wire and against the real servers."""
