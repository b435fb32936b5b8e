"""The processes that train together: started, brought together, and ended."""
