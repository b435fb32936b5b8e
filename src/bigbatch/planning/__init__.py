"""What a training will do, and what it will take, told before it starts. Without torch."""
