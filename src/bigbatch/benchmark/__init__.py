"""How fast it is, as ratios within one run: a step beside plain DDP, an all-reduce beside the backend's own."""
