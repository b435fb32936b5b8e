"""The page: words, tables, figures, HTML."""
