"""Runs as folders: who writes to one, its checkpoints and its metrics. Needs neither Ray nor torch."""
