"""What a set of runs proves, from their records alone: groups, points, verdicts, figures and one page."""
