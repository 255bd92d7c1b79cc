"""The implicit quantile network: its layers, its losses, and the policy that acts with it."""
