"""The visual stage: an encoder learns from pictures, and from what comes after them."""
