"""Images labelled by their class: in folders, tar shards, Parquet files or a pack; and how each is decoded."""
