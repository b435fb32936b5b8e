"""Where users already are: the exact step and the scaling rules inside Lightning, Accelerate and transformers.

Each file is one trainer, imported only by its user. `trackers` holds the observers that `launch.observers` names.
"""
