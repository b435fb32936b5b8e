"""Checkpoints: written whole or not at all while training goes on, and loaded without running code.

From the state to the disk: `state` (nested values as named tensors and JSON), `manifest` (what a file must be: its
hash, its position, its recipe), `saving` (files, in an order that survives a kill at any moment), `writer` (in the
background), `loading` (what is refused, and what is used instead), `weights` (their hash, and their export).
"""
