"""The race: bigbatch beside other trainers, each as its documentation teaches it."""
