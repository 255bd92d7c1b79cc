"""Trajectories on their way to batches: columns, chunks, their wire format, the ring, and drawing from it."""
