"""All parameters of a network in one vector, part after part.

The optimiser, the gradient's norm, the soft target update and the undoing of a step then are a few operations on
vectors instead of a few for each of two dozen tensors, and need no list of pointers. The parameters stay what they
were to the network: views into the vector, with the memory format that they had.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import torch
from torch import Tensor, nn


class FlatParameters:
    """Moves the parameters of ``network`` into one vector.

    Args:
        network: on its device, in float32; its parameters become views.
        part_of: the part that a parameter belongs to, by its name.
    """

    def __init__(self, network: nn.Module, part_of: Callable[[str], str]) -> None:
        named = list(network.named_parameters())
        parts = list(dict.fromkeys(part_of(name) for name, _ in named))
        self._parameters = {name: p for part in parts for name, p in named if part_of(name) == part}
        self.slices: dict[str, slice] = {}
        """Where each part lies in the vector."""
        offset = 0
        self._offsets: dict[str, int] = {}
        for name, parameter in self._parameters.items():
            self._offsets[name] = offset
            start = self.slices[part_of(name)].start if part_of(name) in self.slices else offset
            offset += parameter.numel()
            self.slices[part_of(name)] = slice(start, offset)
        self._part_of = part_of
        first = next(iter(self._parameters.values()))
        self.values = torch.empty(offset, dtype=torch.float32, device=first.device)
        """(P,) all parameters."""
        for name, view in self.by_name(self.values):
            parameter = self._parameters[name]
            if parameter.dtype != torch.float32:
                raise ValueError(f"the parameter {name} is {parameter.dtype}, not float32")
            view.copy_(parameter.data)
            parameter.data = view

    @property
    def parts(self) -> tuple[str, ...]:
        """The parts that the network has."""
        return tuple(self.slices)

    def by_name(self, vector: Tensor) -> Iterator[tuple[str, Tensor]]:
        """Yield the name of each parameter and its view, in the parameter's shape, of a vector like ``values``."""
        for name, parameter in self._parameters.items():
            yield name, vector.as_strided(parameter.shape, parameter.stride(), self._offsets[name])

    def bind_gradients(self) -> Tensor:
        """Return a vector (P,) into which backward passes add the gradients from now on."""
        gradients = torch.zeros_like(self.values)
        for name, view in self.by_name(gradients):
            self._parameters[name].grad = view
        return gradients

    def learn(self, part: str, *, learns: bool) -> None:
        """Let backward passes work out the gradients of a part, or spare them the work."""
        for name, parameter in self._parameters.items():
            if self._part_of(name) == part:
                parameter.requires_grad_(learns)

    def tensors_of(self, vector: Tensor) -> dict[str, Tensor]:
        """Return copies on the CPU of a vector like ``values``, by the names of the parameters."""
        return {name: view.detach().cpu().contiguous().clone() for name, view in self.by_name(vector)}

    def fill(self, vector: Tensor, tensors: Mapping[str, Tensor]) -> None:
        """Write what :meth:`tensors_of` returned into a vector like ``values``."""
        for name, view in self.by_name(vector):
            view.copy_(tensors[name])
