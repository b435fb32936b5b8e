"""The fourth room: the page, made of words, tables and figures."""
