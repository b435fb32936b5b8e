"""Verification: whether a recipe's training keeps the four precautions, and what in the user's code breaks them."""
