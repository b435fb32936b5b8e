"""Checkpoints: written whole or not at all while training goes on, and loaded without running code.

The modules, from the state to the disk:
    state: nested values as named tensors and JSON.
    staging: the copies that are written while training goes on.
    manifest: what a file must be: its hash, its position, its recipe.
    saving: the files, in an order that survives a kill at any moment.
    writer: saves in the background.
    loading: finds the newest checkpoint that can be used, and refuses the others.
    weights: their hash, and their export.
"""
