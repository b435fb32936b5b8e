"""The exact step, and what it asks of a model."""
