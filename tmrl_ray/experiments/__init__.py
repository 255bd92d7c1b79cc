"""The experiments that ship: what they are, the runs that they are made of, and what their results say of claims."""
