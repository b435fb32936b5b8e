"""The third room: the figures."""
