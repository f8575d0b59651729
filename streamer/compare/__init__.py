"""What differs between two runs: two backtests, or two snapshots of workers. Results are trees of plain values, for people and programs."""
