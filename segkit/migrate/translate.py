"""The arguments of a part by its table, and what the layers of a part are made of."""

import inspect
from typing import Any, NamedTuple

from segkit.migrate.part import Part
from segkit.migrate.tables import Kind
from segkit.registry import Registry

SHARED = ("in_channels", "init_cfg", "pretrained")
"""Arguments of every part that segkit derives, or that are read elsewhere."""


class Encoder(NamedTuple):
    """An encoder and the levels of its maps.

    Attributes:
        section: model.backbone.
        levels: for each of mmsegmentation's in_index the level here.
        neck: model.neck that belongs to the encoder, {} for none.
        freeze: optimizer.freeze, names of what is not trained.
        has_weights: whether timm has ImageNet weights for it.
    """

    section: dict[str, Any]
    levels: tuple[int, ...]
    neck: dict[str, Any] = {}
    freeze: tuple[str, ...] = ()
    has_weights: bool = True


def translated(part: Part, kind: Kind, registry: Registry) -> dict[str, Any]:
    """The arguments of a part by the table; values that are the defaults here are left out."""
    made = dict(kind.constants)
    defaults = inspect.signature(registry.get(kind.type)).parameters
    for theirs, (ours, default) in kind.keys.items():
        value = part.take(theirs, default)
        if value != defaults[ours].default:
            made[ours] = value
    for key, allowed in kind.fixed.items():
        part.same(key, *allowed, stated=key in kind.stated)
    part.skip(*kind.derived, *SHARED)
    # where a head is its classifier alone, nothing is normalized
    is_bare = part.values.get("num_convs") == 0 and not part.values.get("concat_input", True)
    check_layers(part, norms=kind.norms, acts=kind.acts, eps=None if is_bare else kind.eps)
    return made


def check_layers(
    part: Part,
    *,
    norms: tuple[str, ...] = ("BN", "SyncBN"),
    acts: tuple[str, ...] = ("ReLU",),
    eps: float | None = 1e-5,
    trained: bool = True,
) -> None:
    """Takes norm_cfg, conv_cfg and act_cfg, which must be what segkit's form of the part is made of.

    Args:
        part: the arguments.
        norms: types that norm_cfg may name.
        acts: types that act_cfg may name.
        eps: of the normalizations; None for any.
        trained: whether their weights must be trained.
    """
    norm = part.take("norm_cfg", None)
    if norm is not None and (not isinstance(norm, dict) or norm.get("type") not in norms):
        raise part.refusal("norm_cfg", norm, f"segkit's form of this network has {' or '.join(norms)} alone")
    if norm is not None and eps is not None and norm.get("eps", 1e-5) != eps:
        raise part.refusal("norm_cfg", norm, f"segkit's form of this network has eps = {eps}")
    if norm is not None and trained and not norm.get("requires_grad", True):
        raise part.refusal("norm_cfg", norm, "segkit trains normalizations; see optimizer.freeze to stop them")
    part.same("conv_cfg", None, {"type": "Conv1d"})
    act = part.take("act_cfg", None)
    if act is not None and (
        not isinstance(act, dict) or act.get("type") not in acts or act.keys() > {"type", "inplace"}
    ):
        raise part.refusal("act_cfg", act, f"segkit's form of this network has {' or '.join(acts)} alone")
