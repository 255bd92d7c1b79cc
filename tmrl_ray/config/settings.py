"""What every group of settings has in common.

A component takes its own group and nothing else: ``EmbeddedGame(settings: GameSettings)``, never a whole
:class:`~tmrl_ray.config.run.RunConfig`. The docstring under each field is its documentation: ``tmrl-ray config
explain`` prints it, and so the words stand once, next to the value.
"""

from __future__ import annotations

from typing import Any, Self

from pydantic import BaseModel, ConfigDict


class Settings(BaseModel):
    """A frozen group of settings that refuses unknown keys and values of another type.

    Types are strict: ``"50"`` is no number and ``true`` is not 1. A whole number may stand for a float.
    """

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        strict=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
        validate_default=True,
    )

    def replace(self, **changes: Any) -> Self:
        """Return a copy with some fields changed; the copy is validated as a whole."""
        unchanged = {name: getattr(self, name) for name in type(self).model_fields if name not in changes}
        return type(self)(**unchanged, **changes)
