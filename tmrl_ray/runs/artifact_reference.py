"""Reads the artifacts of the reference implementation (rulka): ``encoder.pt``, heads, and whole networks.

Its names become those of our network: ``img_head`` is the encoder, ``float_feature_extractor`` the float head,
``iqn_fc`` the quantile layer, ``A_head`` and ``V_head`` the advantage and the value head. Which of them a file has is
seen from its tensors, not from its name. Heads are labelled with the time offset that they were trained for, which
``pretrain_meta.json`` beside them tells: of several heads the reference keeps the first, be its offset 0 or not.

Files are read with ``weights_only``: nothing in them is executed.
"""

from __future__ import annotations

import json
import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from tmrl_ray.errors import ArtifactError
from tmrl_ray.runs.artifact import META_FILE, Arrays, Artifact, Origin, PartKey

REFERENCE_META_FILE = "pretrain_meta.json"
REFERENCE_FILES = ("encoder.pt", "float_head.pt", "actions_head.pt", "iqn_bc.pt")
"""In the order in which they are taken over: what comes later wins."""
_PREFIXES = {
    "img_head.": "encoder",
    "float_feature_extractor.": "float_head",
    "iqn_fc.": "quantile_layer",
    "V_head.": "value_head",
}
_BUFFERS = {"float_inputs_mean": "float_mean", "float_inputs_std": "float_std"}
_HEAD = re.compile(r"(A_head_offset_|actions_head_|offset_)(?P<index>\d+)\.(?P<rest>.+)")
_COMPILED = "_orig_mod."
_MEND = "Remove it, or take it from that run again."
_NOT_KNOWN = "Files of the reference are encoder.pt, float_head.pt, actions_head.pt and iqn_bc.pt."

Named = dict[str, NDArray[Any]]


def open_artifact(path: Path) -> Artifact:
    """Read an artifact: a folder of ours, a folder of the reference, or a ``.pt`` file of the reference.

    Raises:
        ArtifactError: there is none, or it cannot be read.
    """
    if path.is_file() and path.name == META_FILE:
        path = path.parent
    if path.is_file():
        return read_reference(path)
    ours = any((folder / META_FILE).exists() for folder in (path, path / "best"))
    if not ours and any((path / name).exists() for name in REFERENCE_FILES):
        return read_reference(path)
    return Artifact.read(path)


def read_reference(path: Path) -> Artifact:
    """Read a file of the reference, or all that are in a folder.

    Raises:
        ArtifactError: there is none, one cannot be read, or it has tensors that are not known.
    """
    folder = path if path.is_dir() else path.parent
    files = [path] if path.is_file() else [folder / name for name in REFERENCE_FILES if (folder / name).exists()]
    if not files:
        raise ArtifactError(f"there is nothing of the reference in {path}", hint=_NOT_KNOWN)
    stated = _read_meta(folder / REFERENCE_META_FILE)
    offsets_ms = [int(each) for each in stated.get("bc_time_offsets_ms") or []]
    parts: dict[PartKey, Arrays] = {}
    for file in files:
        parts |= _parts_of(_load(file), offsets_ms, file)
    return Artifact(_origin_of(stated, folder, parts), parts, path)


def _load(path: Path) -> Named:
    import torch  # a second to import, and most who read artifacts read our own

    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise ArtifactError(
            f"{path} cannot be read: {str(error).splitlines()[0]}", hint="It is no file of tensors alone, or damaged."
        ) from error
    if not isinstance(state, Mapping) or not state:
        raise ArtifactError(f"{path} has no tensors by name", hint=_NOT_KNOWN)
    named = {}
    for name, tensor in state.items():
        if not isinstance(tensor, torch.Tensor):
            raise ArtifactError(f"{path}: {name} is no tensor", hint=_NOT_KNOWN)
        named[name.removeprefix(_COMPILED)] = tensor.detach().float().contiguous().numpy()
    return named


def _parts_of(named: Named, offsets_ms: list[int], path: Path) -> dict[PartKey, Arrays]:
    """Return the tensors of a file by part, under the names that our network has for them."""
    groups: dict[PartKey, Named] = {}
    first_head, fused = Named(), Named()
    for name, array in named.items():
        part = next((part for prefix, part in _PREFIXES.items() if name.startswith(prefix)), None)
        head = _HEAD.fullmatch(name)
        if part is not None:
            groups.setdefault(PartKey(part), {})[name.partition(".")[2]] = array
        elif head is not None:
            key = PartKey("advantage_head", _offset_ms(int(head["index"]), offsets_ms, path))
            groups.setdefault(key, {})[head["rest"]] = array
        elif name.startswith("A_head."):
            first_head[name.removeprefix("A_head.")] = array
        elif name.startswith("A_head_multi."):
            fused[name.removeprefix("A_head_multi.")] = array
        elif name in _BUFFERS:
            groups.setdefault(PartKey("float_head"), {})[_BUFFERS[name]] = array
        elif re.fullmatch(r"(\d+\.)?(weight|bias)", name):
            groups.setdefault(PartKey(""), {})[name] = array  # a part alone, without a prefix
        else:
            raise ArtifactError(f"{path}: there is no part of the network for {name}", hint=_NOT_KNOWN)
    if alone := groups.pop(PartKey(""), None):
        part = _part_alone(alone)
        if part == "advantage_head":
            first_head = alone
        else:
            groups[PartKey(part)] = alone
    if fused:
        groups |= _split(first_head, fused, offsets_ms, path)
    elif first_head:
        groups[PartKey("advantage_head", offsets_ms[0] if offsets_ms else None)] = first_head
    return dict(_named_as_ours(key, arrays) for key, arrays in groups.items())


def _offset_ms(index: int, offsets_ms: list[int], path: Path) -> int:
    if index >= len(offsets_ms):
        raise ArtifactError(
            f"{path} has a head number {index}, and {REFERENCE_META_FILE} tells {len(offsets_ms)} time offsets",
            hint=f"Put the {REFERENCE_META_FILE} of that run beside it: it tells what each head was trained for.",
        )
    return offsets_ms[index]


def _part_alone(arrays: Named) -> str:
    """Return which part tensors without a prefix are: told by their shapes."""
    if any(array.ndim == 4 for array in arrays.values()):
        return "encoder"
    widths = [len(array) for name, array in sorted(arrays.items()) if name.endswith("bias")]
    # The float head ends as wide as it is; a head of actions ends in as many as there are actions.
    return "float_head" if len(widths) == 2 and widths[0] == widths[1] else "advantage_head"


def _split(trunk: Named, fused: Named, offsets_ms: list[int], path: Path) -> dict[PartKey, Named]:
    """Return one head for each offset of a last layer that tells the actions of all of them, offset by offset."""
    outputs = len(fused["bias"])
    if not offsets_ms or outputs % len(offsets_ms):
        raise ArtifactError(
            f"{path} has one head with {outputs} outputs for {len(offsets_ms)} time offsets",
            hint=f"Put the {REFERENCE_META_FILE} of that run beside it.",
        )
    actions = outputs // len(offsets_ms)
    first = {name: array for name, array in trunk.items() if name.startswith("0.")}
    return {
        PartKey("advantage_head", offset_ms): first
        | {f"2.{name}": array[index * actions : (index + 1) * actions] for name, array in fused.items()}
        for index, offset_ms in enumerate(offsets_ms)
    }


def _named_as_ours(key: PartKey, arrays: Named) -> tuple[PartKey, Named]:
    part = key.part
    if part not in {"advantage_head", "value_head"}:
        return key, {name if name in _BUFFERS.values() else f"{part}.{name}": array for name, array in arrays.items()}
    layers = sorted({int(name.partition(".")[0]) for name in arrays if "." in name})
    if not layers:  # one layer, which no head of the network is
        return key._replace(part="linear_head"), {f"linear_head.{name}": array for name, array in arrays.items()}
    names = {str(layers[0]): f"{part}.hidden.0", str(layers[-1]): f"{part}.last"}
    renamed = Named()
    for name, array in arrays.items():
        layer, _, rest = name.partition(".")
        renamed[f"{names.get(layer, f'{part}.{layer}')}.{rest}"] = array
    return key, renamed


def _read_meta(path: Path) -> dict[str, Any]:
    try:
        stated = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{path} cannot be read: {error}", hint=_MEND) from error
    if not isinstance(stated, dict):
        raise ArtifactError(f"{path} is no JSON object", hint=_MEND)
    return stated


def _origin_of(stated: Mapping[str, Any], folder: Path, parts: Mapping[PartKey, Arrays]) -> Origin:
    cloned = "bc_mode" in stated or any(key.part.endswith("_head") for key in parts)
    losses = {"train_loss": "train_loss_final", "validation_loss": "val_loss_final", "accuracy": "val_acc_final"}
    try:
        size = stated.get("image_size")
        epochs = int(stated.get("epochs_trained", 0))
        return Origin(
            stage="bc" if cloned else "visual",
            task=str(stated.get("bc_mode") or stated.get("task") or "not known"),
            run=folder.name or "reference",
            frame_size=None if size is None else (int(size), int(size)),
            frame_stack=stated.get("n_stack", 1),
            stack_mode=stated.get("stack_mode", "channel"),
            # Where its files do not say, the reference has pixels from 0 to 1.
            frame_normalization=stated.get("image_normalization", "01" if stated else None),
            seed=stated.get("seed"),
            epochs_trained=epochs,
            epoch=epochs,
            metrics={ours: float(stated[theirs]) for ours, theirs in losses.items() if stated.get(theirs) is not None},
            settings={name: value for name, value in stated.items() if isinstance(value, str | int | list | None)},
            code_version=f"rulka {stated['version']}" if "version" in stated else "rulka",
        )
    except (ValueError, TypeError) as error:
        raise ArtifactError(
            f"{folder / REFERENCE_META_FILE} is not as the reference writes it: {error}",
            hint=_MEND,
        ) from error
