"""What a training is for: what it minimises, and what its model is judged by. Both are found by name."""
