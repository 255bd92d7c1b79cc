"""Pretraining: what an encoder and heads learn from recorded races before the learner takes them over.

Plain classes; ``jobs`` alone knows Ray.
"""
