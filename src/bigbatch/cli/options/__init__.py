"""The options that commands share: how each is added, and how it becomes a value."""
