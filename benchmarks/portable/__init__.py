"""Which operations have the same bits on every CPU: measured on emulated ones, and what that costs."""
