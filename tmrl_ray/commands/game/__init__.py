"""``tmrl-ray game``: one module for each of its commands."""
