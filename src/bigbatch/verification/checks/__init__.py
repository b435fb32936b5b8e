"""One file a check: what it measures, and what it says when a rule is broken."""
