"""Models from timm's factory, with weights from its hub cache, a download or a local checkpoint."""

import contextlib
import functools
import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from io import BufferedReader
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from calbench.benchmark.backbones.base import build_timm
from calbench.benchmark.core.errors import InputError, nearest
from calbench.benchmark.core.torch_files import read_torch


def check_model_name(name: str) -> None:
    """Raise an `InputError`, with the nearest of timm's names, unless timm has a model (and tag) of that name."""
    import timm

    architecture, _, tag = name.partition(".")
    if not timm.is_model(architecture):
        raise InputError(f"timm has no model {architecture!r}{nearest(architecture, timm.list_models())}")
    tags = weight_tags(architecture)
    if tag and tag not in tags:
        raise InputError(f"timm's {architecture} has no weights {tag!r}{nearest(tag, tags)}; known: {', '.join(tags)}")


def weight_tags(architecture: str) -> list[str]:
    """The tags of timm's weights for `architecture`, such as ``a1_in1k``."""
    import timm

    names = timm.list_models(f"{architecture}.*", pretrained=True)
    return [name.partition(".")[2] for name in names if name.partition(".")[0] == architecture]


def pretrained_config(name: str) -> Any:
    """Timm's configuration of the weights of `name`: input size, mean, std, interpolation, crop."""
    from timm.models import get_pretrained_cfg

    return get_pretrained_cfg(name)


def checkpoint_digest(path: str) -> str:
    """A hash of the bytes of a checkpoint, which represents it in cache keys.

    Raises:
        InputError: there is no such file, or it is a folder, pipe or device.
    """
    with _opened(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def create_model(name: str, *, pretrained: bool, checkpoint: str | None, **options: Any) -> Any:
    """Make timm's model `name`.

    Args:
        name: timm's name, with its weight tag where `pretrained`.
        pretrained: take timm's weights, from the hub's cache or over the network.
        checkpoint: take the weights of this local file instead (safetensors, or a PyTorch file, which is read without
            executing code and without `torch.load`). A classifier of another number of classes is left out, and
            position embeddings and the first convolution are adapted.
        options: for the model's constructor.

    Raises:
        InputError: options that timm refuses, or weights that cannot be had, with what to do.
    """
    import timm

    if checkpoint is not None:
        return _from_checkpoint(name, checkpoint, options)
    make = functools.partial(build_timm, timm.create_model, f"timm:{name}", model_name=name, **options)
    if not pretrained:
        return make()
    try:
        return timm.create_model(name, pretrained=True, **options)
    except Exception as error:  # the hub client's error types differ between its versions
        make()  # raises if the options are at fault
        raise InputError(_advice(name, error)) from error


def _advice(name: str, error: Exception) -> str:
    return (
        f"timm:{name}: its weights are not in the local cache and cannot be fetched ({type(error).__name__}). With a "
        f"network, run once without HF_HUB_OFFLINE; without one, copy the hub cache of another machine to HF_HOME, or "
        f"give the option checkpoint=FILE, or pretrained=false to train from scratch"
    )


@contextlib.contextmanager
def _opened(path: str) -> Iterator[BufferedReader]:
    """A checkpoint, opened; pipes and devices, which could be read without end, are refused.

    Raises:
        InputError: there is no such file, or it is no regular file.
    """
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise InputError(f"checkpoint {Path(path).name}: not a regular file")
        with open(path, "rb") as file:
            yield file
    except OSError as error:
        raise InputError(f"checkpoint {Path(path).name}: {error.strerror}") from error


def _weights_of(path: str) -> dict[str, Tensor]:
    """The weights in a file of safetensors or torch, by name, which lie under ``state_dict`` or ``model`` or on top.

    Raises:
        InputError: it is damaged, hostile, or has no weights.
    """
    from timm.models import clean_state_dict

    label = Path(path).name
    try:
        with _opened(path) as file:
            if path.endswith(".safetensors"):
                return clean_state_dict(load_file(path))
            content = read_torch(file)
    except SafetensorError as error:
        raise InputError(f"checkpoint {label}: cannot be read as weights: {error}") from error
    except InputError as error:
        known = str(error).startswith("checkpoint ")
        raise error if known else InputError(f"checkpoint {label}: cannot be read as weights: {error}") from error
    for part in ("state_dict", "model"):
        if isinstance(content, dict) and part in content:
            content = content[part]
            break
    named = content.items() if isinstance(content, dict) else ()
    arrays = {name: array for name, array in named if isinstance(name, str) and isinstance(array, np.ndarray)}
    if not arrays:
        raise InputError(f"checkpoint {label}: it has no weights by name (a state_dict)")
    return clean_state_dict({name: torch.from_numpy(np.array(array)) for name, array in arrays.items()})


def _from_checkpoint(name: str, checkpoint: str, options: dict[str, Any]) -> Any:
    import timm

    label, state = Path(checkpoint).name, _weights_of(checkpoint)
    make = functools.partial(timm.create_model, name, **options)
    with torch.random.fork_rng(devices=[]):
        fresh = build_timm(make, f"timm:{name}")
    try:
        loaded = _loaded(make, state, fresh)
    except (AssertionError, RuntimeError, TypeError, ValueError, KeyError) as error:
        raise InputError(f"checkpoint {label} does not fit timm:{name}: {error}") from error
    if missing := _not_loaded(fresh, loaded):
        raise InputError(f"checkpoint {label} does not fit timm:{name}: it gives no {missing[0]}")
    return loaded


def _loaded(make: Callable[..., Any], state: dict[str, Any], fresh: Any) -> Any:
    """The model with the weights of `state`: its classifier too, where it has as many classes as the model.

    timm compares the model's classes with those of its own published weights, not with those of the checkpoint.
    """
    config, wanted = fresh.pretrained_cfg, fresh.num_classes
    classes = {len(state[f"{name}.weight"]) for name in _classifiers(fresh) if f"{name}.weight" in state}
    kept, other = {"num_classes": wanted, "label_offset": 0}, {"num_classes": -1, "label_offset": 0}
    published = config["num_classes"] + config.get("label_offset", 0)

    def load(overlay: dict[str, Any]) -> Any:
        return make(pretrained=True, pretrained_cfg_overlay={"state_dict": dict(state), **overlay})

    if classes == {wanted}:
        return load(kept)
    if classes == {published}:
        return load({})
    if classes:
        return load(other)
    try:
        return load(kept)  # some models rename the weights that they load
    except (AssertionError, RuntimeError, KeyError):
        return load(other)


def _classifiers(model: Any) -> tuple[str, ...]:
    """The names of the model's last layers."""
    names = model.default_cfg["classifier"]
    return (names,) if isinstance(names, str) else tuple(names)


def _not_loaded(fresh: Any, loaded: Any) -> list[str]:
    """Weights of `loaded` that still have the random start that they share with `fresh`, but for the classifier's.

    timm loads what fits and keeps quiet about the rest, and some of its models rename the weights that they load.
    """
    heads = _classifiers(loaded)
    others = dict(loaded.named_parameters())
    return [
        key
        for key, value in fresh.named_parameters()
        if value.dim() > 1 and not key.startswith(heads) and value.std() > 0 and torch.equal(value, others[key])
    ]
