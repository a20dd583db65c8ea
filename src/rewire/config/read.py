"""What is meant by a composed configuration: 8/255, ~ in paths, and a profile for all choices."""

from __future__ import annotations

import contextlib
import functools
from pathlib import Path
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from rewire.options import children, reader
from rewire.pipeline.paths import CONF
from rewire.pipeline.schema import entry, schema_of
from rewire.registry import OPEN


def read_numbers(config: DictConfig, document: str) -> list[str]:
    """Put what is meant in the place of 8/255 where a number is wanted, and of ~ in paths.

    What a profile sets of a group, but what is chosen of it does not have, goes.

    Returns:
        The options that went.
    """
    gone = []
    schema = schema_of(document, names_of(config))
    for group, options in of_profile(config, document).items():
        own, some = entry(schema, group), None
        for option in options:
            some = some or entry(schema_of(document), group)
            if entry(own, option) is None and entry(some, option) is not None:
                with open_dict(config):
                    config[group].pop(option, None)
                gone.append(f"{group}.{option}")
    _read(config, schema)
    return gone


def of_profile(config: DictConfig, document: str) -> dict[str, Any]:
    """What the chosen profile's file says, by group."""
    with contextlib.suppress(OmegaConfBaseException, OSError, AttributeError):
        path = CONF / document / "profile" / f"{config.profile.name}.yaml"
        return _groups_in(path, path.stat().st_mtime_ns)
    return {}


@functools.lru_cache(maxsize=8)  # a sweep asks for every job
def _groups_in(path: Path, changed: int) -> dict[str, Any]:
    loaded = cast(dict[str, Any], OmegaConf.to_container(OmegaConf.load(path)))
    return {group: values or {} for group, values in loaded.items() if group in OPEN}


def names_of(config: DictConfig) -> dict[str, Any]:
    """What `schema_of` wants to know, as far as it can be resolved."""
    found = {}
    for group in OPEN:
        with contextlib.suppress(OmegaConfBaseException, RecursionError, KeyError, TypeError):
            found[group] = {"name": config[group]["name"]}
    return found


def _read(config: DictConfig, schema: Any) -> None:
    for key in config:
        kind = entry(schema, str(key))
        try:
            value = config[key]
        except (OmegaConfBaseException, RecursionError):
            continue  # reported by `plain`
        if kind is None:
            continue
        if children(kind) is not None:
            if isinstance(value, DictConfig):
                _read(value, kind)
            continue
        found = OmegaConf.to_container(value) if OmegaConf.is_config(value) else value
        if (read := reader(kind)(found)) != found:
            config[key] = read
