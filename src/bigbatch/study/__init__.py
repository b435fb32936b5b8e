"""What is done with many runs: sweeps, statistics, reports, the ledger. The core never imports it."""
