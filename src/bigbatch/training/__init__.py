"""Training by a recipe: build, restore, epochs, evaluation, saves."""
