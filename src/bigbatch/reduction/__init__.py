"""The sum of the gradients over the workers of a minibatch, exact and fast. Read `docs/collectives.md` beside it.

From the idea to the wire: `tree` is the order of additions, and `local_sum` evaluates one process's part of it.
`schedules` say who sends what to whom; `exchange` carries a schedule out over a `transport` (`in_memory` is one for
tests). `library_collectives` are torch's own all-reduces instead. `communication` does it while backpropagation goes
on, `choice` finds the fastest algorithm for each size, and `communicator` holds both. `overlap` hands gradients over as
soon as they are there, `worker_norms` measures them, and `aggregation` is what a step uses.
"""
