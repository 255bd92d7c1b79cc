"""Races as data: how they are kept, checked, repaired, and turned into arrays to learn from."""
