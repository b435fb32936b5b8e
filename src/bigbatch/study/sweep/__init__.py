"""Error against minibatch size: many runs of one recipe, planned, run side by side, and put into a table."""
