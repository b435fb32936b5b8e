"""The runs of a report: read from folders and files, and made small."""
