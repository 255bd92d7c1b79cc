"""Every metric there is, by what it tells of."""

from __future__ import annotations

from tmrl_ray.runs.declared.collecting import COLLECTING
from tmrl_ray.runs.declared.experience import EXPERIENCE
from tmrl_ray.runs.declared.learning import LEARNING
from tmrl_ray.runs.declared.pretraining import PRETRAINING
from tmrl_ray.runs.declared.races import RACES
from tmrl_ray.runs.declared.service import SERVICE
from tmrl_ray.runs.metrics import Registry

METRICS = Registry([*RACES, *LEARNING, *EXPERIENCE, *COLLECTING, *SERVICE, *PRETRAINING])
"""All of them; METRICS.md lists exactly these."""
