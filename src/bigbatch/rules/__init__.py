"""The rules of a training as pure functions: rates, sampling, randomness, AdaScale's gain. Without torch."""
