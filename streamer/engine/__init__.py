"""The fold: records in, state and effects out. No socket, clock, thread or global randomness."""
