"""The second room: runs are grouped into studies, series and points, and judged."""
