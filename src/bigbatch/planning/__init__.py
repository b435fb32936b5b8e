"""What a training will do and take, before it starts. Without torch."""
