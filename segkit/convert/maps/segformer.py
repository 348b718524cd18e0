"""Key maps of SegFormer: the authors' code, mmsegmentation and Hugging Face, both ways.

The same maps read files of the encoder alone (MiT, trained on ImageNet), with the model's head left out.
"""

import re

from torch import Tensor

from segkit.convert.keymap import Form, KeyMap, Rule

URL = "https://github.com/NVlabs/SegFormer"
MMSEG_URL = "https://github.com/open-mmlab/mmsegmentation"
HF_URL = "https://huggingface.co/nvidia/segformer-b0-finetuned-ade-512-512"

Pairs = tuple[tuple[str, str], ...]
"""Parts of names, segkit's and the project's."""


def as_linear(weight: Tensor) -> Tensor:
    """Turns the weight of a 1x1 convolution, [K,C,1,1], into that of a linear layer, [K,C]."""
    return weight.flatten(1)


def as_conv(weight: Tensor) -> Tensor:
    """Turns the weight of a linear layer, [K,C], into that of a 1x1 convolution, [K,C,1,1]."""
    return weight[:, :, None, None]


def reversed_maps(weight: Tensor) -> Tensor:
    """Reverses the order of the concatenated maps, as wide as the result each, in a weight [C,n * C,1,1]."""
    return weight.unflatten(1, (-1, weight.shape[0])).flip(1).flatten(1, 2)


def _starts(pairs: Pairs, *, is_back: bool = False) -> tuple[Rule, ...]:
    """Rules for the beginnings of names: from the project's to segkit's, or back."""
    return tuple(("^" + re.escape(old), new) for old, new in _directed(pairs, is_back))


def _layers(pairs: Pairs, *, is_back: bool = False) -> tuple[Rule, ...]:
    """Rules for names of layers in a block of the encoder: from the project's to segkit's, or back."""
    block = r"^(backbone\.encoder\.stages_\d\.blocks\.\d+\.)"
    return tuple((rf"{block}{re.escape(old)}\.", rf"\1{new}.") for old, new in _directed(pairs, is_back))


def _directed(pairs: Pairs, is_back: bool) -> Pairs:
    """Pairs of the old and the new name."""
    return pairs if is_back else tuple((theirs, ours) for ours, theirs in pairs)


def _stages(embed: str, norm: str, blocks: str, norms: str, *, first: int) -> Pairs:
    """Beginnings of names of the encoder; `#` in the project's is the number of the stage, counted from `first`."""
    pairs: list[tuple[str, str]] = []
    for i in range(4):
        stage = f"backbone.encoder.stages_{i}."
        start = "backbone.encoder.patch_embed." if i == 0 else f"{stage}downsample."
        ours = (f"{start}proj.", f"{start}norm.", f"{stage}blocks.", f"{stage}norm.")
        theirs = (name.replace("#", str(i + first)) for name in (embed, norm, blocks, norms))
        pairs += zip(ours, theirs)
    return tuple(pairs)


HF_STAGES = _stages(
    "segformer.encoder.patch_embeddings.#.proj.",
    "segformer.encoder.patch_embeddings.#.layer_norm.",
    "segformer.encoder.block.#.",
    "segformer.encoder.layer_norm.#.",
    first=0,
)
HF_LAYERS: Pairs = (
    ("norm1", "layer_norm_1"),
    ("norm2", "layer_norm_2"),
    ("attn.sr", "attention.self.sr"),
    ("attn.norm", "attention.self.layer_norm"),
    ("attn.q", "attention.self.query"),
    ("attn.k", "attention.self.key"),
    ("attn.v", "attention.self.value"),
    ("attn.proj", "attention.output.dense"),
    ("mlp.fc1", "mlp.dense1"),
    ("mlp.fc2", "mlp.dense2"),
    ("mlp.dwconv", "mlp.dwconv.dwconv"),
)
HF_HEAD: Pairs = (
    *((f"head.projections.{i}.", f"decode_head.linear_c.{i}.proj.") for i in range(4)),
    ("head.fuse.conv.", "decode_head.linear_fuse."),
    ("head.fuse.bn.", "decode_head.batch_norm."),
    ("head.classifier.", "decode_head.classifier."),
)

MMSEG_STAGES = _stages(
    "backbone.layers.#.0.projection.",
    "backbone.layers.#.0.norm.",
    "backbone.layers.#.1.",
    "backbone.layers.#.2.",
    first=0,
)
MMSEG_LAYERS: Pairs = (
    ("attn.proj", "attn.attn.out_proj"),
    ("mlp.fc1", "ffn.layers.0"),
    ("mlp.dwconv", "ffn.layers.1"),
    ("mlp.fc2", "ffn.layers.4"),
)
MMSEG_HEAD: Pairs = (
    *((f"head.projections.{i}.", f"decode_head.convs.{i}.") for i in range(4)),
    ("head.fuse.", "decode_head.fusion_conv."),
    ("head.classifier.", "decode_head.conv_seg."),
)

AUTHORS_STAGES = _stages(
    "backbone.patch_embed#.proj.", "backbone.patch_embed#.norm.", "backbone.block#.", "backbone.norm#.", first=1
)
AUTHORS_LAYERS: Pairs = (("mlp.dwconv", "mlp.dwconv.dwconv"),)
AUTHORS_HEAD: Pairs = (
    *((f"head.projections.{i}.", f"decode_head.linear_c{i + 1}.proj.") for i in range(4)),
    ("head.fuse.", "decode_head.linear_fuse."),
    ("head.classifier.", "decode_head.linear_pred."),
)

PROJECTION = r"^(head\.projections\.\d\.weight)$"
FUSION: Rule = (r"^(head\.fuse\.conv\.weight)$", r"\1", reversed_maps)
MMSEG_MLP = r"^(backbone\..*\.mlp\.fc[12]\.weight)$"

PARTS = ("weight", "bias")
QUERIES: dict[str, tuple[tuple[str, int], ...]] = {
    f".attn.attn.in_proj_{part}": ((f".attn.q.{part}", 1), (f".attn.kv.{part}", 2)) for part in PARTS
}
KEYS_AND_VALUES: dict[str, tuple[str, ...]] = {
    f".attn.kv.{part}": (f".attn.k.{part}", f".attn.v.{part}") for part in PARTS
}
HF_KEYS_AND_VALUES: dict[str, tuple[tuple[str, int], ...]] = {
    f".attn.kv.{part}": ((f".attention.self.key.{part}", 1), (f".attention.self.value.{part}", 1)) for part in PARTS
}

MAPS = {
    "segformer": KeyMap(
        "SegFormer's authors",
        (
            (r"^head\.", None),  # of ImageNet
            (r"^decode_head\.conv_seg\.", None),  # stored and never used
            (r"^(?=(?:patch_embed|block|norm)\d\.)", "backbone."),
            *_starts((*AUTHORS_STAGES, *AUTHORS_HEAD)),
            *_layers(AUTHORS_LAYERS),
            (PROJECTION, r"\1", as_conv),
            FUSION,
        ),
        URL,
    ),
    "mmseg_segformer": KeyMap(
        "mmsegmentation, SegFormer",
        (
            (r"^(?=layers\.\d\.)", "backbone."),
            *_starts((*MMSEG_STAGES, *MMSEG_HEAD)),
            *_layers(MMSEG_LAYERS),
            (MMSEG_MLP, r"\1", as_linear),
        ),
        MMSEG_URL,
        splits=QUERIES,
    ),
    "hf_segformer": KeyMap(
        "Hugging Face, SegFormer",
        (
            (r"^classifier\.", None),  # of ImageNet
            *_starts((*HF_STAGES, *HF_HEAD)),
            *_layers(HF_LAYERS),
            (PROJECTION, r"\1", as_conv),
            FUSION,
        ),
        HF_URL,
        joins=KEYS_AND_VALUES,
    ),
}

EXPORTS: dict[str, Form] = {
    "segformer": Form(
        KeyMap(
            "to SegFormer's authors",
            (
                (PROJECTION, r"\1", as_linear),
                FUSION,
                *_layers(AUTHORS_LAYERS, is_back=True),
                *_starts((*AUTHORS_STAGES, *AUTHORS_HEAD), is_back=True),
            ),
            URL,
        ),
        "state_dict",
    ),
    "mmseg_segformer": Form(
        KeyMap(
            "to mmsegmentation, SegFormer",
            (
                (MMSEG_MLP, r"\1", as_conv),
                *_layers(MMSEG_LAYERS, is_back=True),
                *_starts((*MMSEG_STAGES, *MMSEG_HEAD), is_back=True),
            ),
            MMSEG_URL,
            joins={whole: tuple(part for part, _ in parts) for whole, parts in QUERIES.items()},
        ),
        "state_dict",
    ),
    "hf_segformer": Form(
        KeyMap(
            "to Hugging Face, SegFormer",
            (
                (PROJECTION, r"\1", as_linear),
                FUSION,
                *_layers(tuple(pair for pair in HF_LAYERS if pair[0] not in ("attn.k", "attn.v")), is_back=True),
                *_starts((*HF_STAGES, *HF_HEAD), is_back=True),
            ),
            HF_URL,
            splits=HF_KEYS_AND_VALUES,
        )
    ),
}
