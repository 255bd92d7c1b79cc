"""When the target network follows the online one, and how far."""

from __future__ import annotations

from tmrl_ray.config.learner import TargetSettings


class TargetClock:
    """Counts the samples that were learned from and the updates of the target that are due for them.

    A soft update ``target += rate * (online - target)`` is due once for each interval of samples. Those that fall into
    one batch see the same online network, so k of them are one with the rate 1 - (1 - rate)^k: exactly as many as
    are due are done, whatever the size of the batch.

    Args:
        settings: the target network's.
    """

    def __init__(self, settings: TargetSettings) -> None:
        self._settings = settings
        self.samples = 0
        """Samples that were learned from."""
        self.updates = 0
        """Updates of the target that were done."""

    def advance(self, samples: int) -> float:
        """Count a batch, and return the rate of the update that is due after it, 0 when there is none."""
        self.samples += samples
        due = self.samples // self._settings.interval_samples - self.updates
        if self._settings.legacy_counter_lags:
            due = min(due, 1)
        self.updates += due
        return float(1.0 - (1.0 - self._settings.rate) ** due)

    def state_dict(self) -> dict[str, int]:
        """Return both counters."""
        return {"samples": self.samples, "updates": self.updates}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Take over what :meth:`state_dict` returned."""
        self.samples, self.updates = state["samples"], state["updates"]
