"""Who sends what to whom, and when: `schedule` says what that is, and each algorithm has a file of its own."""
