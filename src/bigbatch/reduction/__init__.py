"""Gradient aggregation: the sum over the workers of a minibatch, exact and fast. Read `docs/collectives.md` beside it.

From the idea to the wire: `tree` (the order of additions), `schedule` (who sends what to whom), one file for each
algorithm that makes a schedule (`halving_doubling`, `binary_blocks`, `direct`, `three_phase`), `exchange` (carries a
schedule out), `transport` with its implementations `in_memory` and `process_group`, `communication` (does it while
backpropagation goes on), `choice` (which algorithm for which size), and `aggregation`, what a step uses.
"""
