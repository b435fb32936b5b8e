"""A run's folder: written, read with mistrust, and compared. Without torch."""
