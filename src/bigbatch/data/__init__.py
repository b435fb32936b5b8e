"""Data: data sets by name, and minibatches of any data set.

`load` finds the data set that a recipe names, and each set has a file. `dataset` says what a data set must do,
`loading` feeds its batches to a process, and `minibatches` divides it among the workers of a training.
"""
