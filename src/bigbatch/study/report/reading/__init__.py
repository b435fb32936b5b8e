"""The first room: runs are read from folders and files, and condensed."""
