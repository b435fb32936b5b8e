"""Randomness by key: words for bigbatch's own draws, and seeds for the generators of others."""
