"""Settings of the network: how wide it is, and the options beyond the reference topology.

What it sees (the picture's size, the number of floats) follows from the settings of the game and of the observation
and is told to the network when it is built.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt

from tmrl_ray.config.settings import Settings


class NetworkSettings(Settings):
    """The implicit quantile network. Defaults are rulka's: 1,051,805 parameters with a 64x64 picture and 184 floats."""

    frame_stack: Annotated[int, Field(ge=1, le=32)] = 1
    """How many consecutive pictures are seen, oldest first."""
    encoder: Literal["conv", "impala"] = "conv"
    """conv: four plain convolutions. impala: the residual encoder of Espeholt et al. 2018."""
    impala_scale: PositiveInt = 1
    """Width multiplier of the IMPALA encoder's 16, 32 and 32 channels."""
    float_hidden: PositiveInt = 256
    """Width of both layers of the float head."""
    head_hidden: PositiveInt = 512
    """Width of the hidden layer of the advantage head and of the value head."""
    quantile_embedding: PositiveInt = 128
    """Number of cosines that a quantile is expanded into."""
    layer_norm: bool = False
    """Normalise after the float head's layers, the features and the heads' hidden layers."""
    spectral_norm: bool = False
    """Bound the Lipschitz constant of the encoder's convolutions."""
    noisy: bool = False
    """Learned noise in the heads, which explores instead of epsilon (Fortunato et al. 2018)."""
    noisy_sigma: PositiveFloat = 0.5
    """Initial size of that noise."""
    dropout: Annotated[NonNegativeFloat, Field(lt=1)] = 0.0
    """Probability with which a feature is dropped while training."""
