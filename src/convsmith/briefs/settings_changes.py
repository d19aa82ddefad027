"""Changes of the settings of a net in the notation that may pass a check, the smallest first."""

from collections.abc import Mapping, Sequence
from typing import Any

from convsmith.briefs.structure import LayerKind, NormKind
from convsmith.net.settings import NetSettings

SettingsChanges = Sequence[Mapping[str, Any]]

# Group norms are tried with these numbers of groups, since the groups must divide every width.
_GROUPS = (8, 4, 2, 16, 32, 5, 3)


def norm_settings(kind: NormKind) -> SettingsChanges:
    """Return the settings that make every norm one of a kind.

    Example:
        >>> norm_settings("batch")
        [{'norm': 'batch'}]
    """
    if kind == "group":
        return [{"norm": "group"}, *({"norm": "group", "norm_groups": groups} for groups in _GROUPS)]
    return [{"norm": kind}, {"norm": "group", "norm_groups": 1}] if kind == "layer" else [{"norm": kind}]


def settings_of(kind: LayerKind) -> SettingsChanges:
    """Return the settings that give a net a kind of layer; empty if none do."""
    match kind:
        case "batch-norm":
            return norm_settings("batch")
        case "group-norm":
            return norm_settings("group")
        case "layer-norm":
            return norm_settings("layer")
        case "instance-norm":
            return norm_settings("instance")
        case _:
            return []


def with_changes(settings: NetSettings, changes: Mapping[str, Any]) -> NetSettings:
    """Return settings with changes.

    Raises:
        ValidationError: A setting cannot have the value.
    """
    values = {name: getattr(settings, name) for name in NetSettings.model_fields}
    return NetSettings.model_validate({**values, **changes})
