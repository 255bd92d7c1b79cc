"""How much a collector explores, by how far the run is."""

from __future__ import annotations

from tmrl_ray.config.collector import ExplorationSettings
from tmrl_ray.iqn.policy import GREEDY, Exploration


def exploration_at(settings: ExplorationSettings, env_steps: int, collector: int) -> Exploration:
    """Return the exploration of a collector.

    Args:
        settings: schedules and multipliers.
        env_steps: of the whole run.
        collector: number of the collector, by which it has one of the multipliers.
    """
    if env_steps < settings.greedy_until:
        return GREEDY
    factor = settings.multipliers[collector % len(settings.multipliers)]
    epsilon = min(1.0, factor * settings.epsilon.at(env_steps, speed=settings.schedule_speed))
    boltzmann = factor * settings.epsilon_boltzmann.at(env_steps, speed=settings.schedule_speed)
    return Exploration(
        epsilon=epsilon,
        hold=settings.hold,
        epsilon_boltzmann=min(1.0 - epsilon, boltzmann),
        boltzmann_noise=settings.boltzmann_noise,
        noisy_layers=settings.noisy_layers,
    )
