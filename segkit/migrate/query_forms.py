"""What MaskFormer's, Mask2Former's and K-Net's heads are made of in mmsegmentation 1.2.2, as forms."""

from typing import Any

from segkit.migrate.forms import Maybe, Slot

RELU = {"type": "ReLU", "inplace": Maybe(True)}
GROUPS = {"type": "GN", "num_groups": 32}
SINE = {"num_feats": Slot("half"), "normalize": True}
NONE = Maybe(None)


def _attention(dropout: Any) -> dict[str, Any]:
    return {
        "embed_dims": Slot("channels"),
        "num_heads": Slot("heads"),
        "attn_drop": dropout,
        "proj_drop": dropout,
        "dropout_layer": None,
        "batch_first": True,
    }


def _decoder(dropout: Any) -> dict[str, Any]:
    """Of transformer_decoder."""
    return {
        "return_intermediate": True,
        "num_layers": Slot("layers"),
        "layer_cfg": {
            "self_attn_cfg": _attention(dropout),
            "cross_attn_cfg": _attention(dropout),
            "ffn_cfg": {
                "embed_dims": Slot("channels"),
                "feedforward_channels": Slot("inner"),
                "num_fcs": 2,
                "act_cfg": RELU,
                "ffn_drop": dropout,
                "dropout_layer": None,
                "add_identity": True,
            },
        },
        "init_cfg": NONE,
    }


DEFORMABLE = {
    "type": "mmdet.MSDeformAttnPixelDecoder",
    "num_outs": 3,
    "norm_cfg": GROUPS,
    "act_cfg": RELU,
    "encoder": {
        "num_layers": Slot("encoder_layers"),
        "layer_cfg": {
            "self_attn_cfg": {
                "embed_dims": Slot("channels"),
                "num_heads": Slot("heads"),
                "num_levels": 3,
                "num_points": Slot("points"),
                "im2col_step": Maybe(64),
                "dropout": 0.0,
                "batch_first": True,
                "norm_cfg": NONE,
                "init_cfg": NONE,
            },
            "ffn_cfg": {
                "embed_dims": Slot("channels"),
                "feedforward_channels": Slot("encoder_inner"),
                "num_fcs": 2,
                "ffn_drop": 0.0,
                "act_cfg": RELU,
            },
        },
        "init_cfg": NONE,
    },
    "positional_encoding": SINE,
    "init_cfg": NONE,
}
"""Mask2Former's pixel_decoder."""

CATEGORY = {
    "type": "mmdet.CrossEntropyLoss",
    "use_sigmoid": False,
    "loss_weight": Slot("category"),
    "reduction": Maybe("mean"),
    "class_weight": Slot("class_weight"),
}
DICE = {
    "type": "mmdet.DiceLoss",
    "use_sigmoid": True,
    "activate": True,
    "reduction": Maybe("mean"),
    "naive_dice": True,
    "eps": 1.0,
    "loss_weight": Slot("dice"),
}


def _matching(mask: dict[str, Any]) -> dict[str, Any]:
    """Of train_cfg: the costs have the weights of the losses."""
    return {
        "assigner": {
            "type": "mmdet.HungarianAssigner",
            "match_costs": [
                {"type": "mmdet.ClassificationCost", "weight": Slot("category")},
                {"weight": Slot("mask"), **mask},
                {"type": "mmdet.DiceCost", "weight": Slot("dice"), "pred_act": True, "eps": 1.0},
            ],
        },
        "sampler": {"type": "mmdet.MaskPseudoSampler"},
    }


MASKFORMER: dict[str, Any] = {
    "pixel_decoder": {"type": "mmdet.PixelDecoder", "norm_cfg": GROUPS, "act_cfg": RELU},
    "enforce_decoder_input_project": False,
    "positional_encoding": SINE,
    "transformer_decoder": _decoder(Slot("dropout")),
    "loss_cls": CATEGORY,
    "loss_mask": {
        "type": "mmdet.FocalLoss",
        "use_sigmoid": True,
        "gamma": 2.0,
        "alpha": 0.25,
        "reduction": Maybe("mean"),
        "loss_weight": Slot("mask"),
    },
    "loss_dice": DICE,
    "train_cfg": _matching({"type": "mmdet.FocalLossCost", "binary_input": True}),
}
"""Keys of MaskFormerHead and their forms."""

MASK2FORMER: dict[str, Any] = {
    "strides": [4, 8, 16, 32],
    "num_transformer_feat_level": 3,
    "pixel_decoder": DEFORMABLE,
    "enforce_decoder_input_project": False,
    "positional_encoding": SINE,
    "transformer_decoder": _decoder(0.0),
    "loss_cls": CATEGORY,
    "loss_mask": {
        "type": "mmdet.CrossEntropyLoss",
        "use_sigmoid": True,
        "reduction": Maybe("mean"),
        "loss_weight": Slot("mask"),
    },
    "loss_dice": DICE,
    "train_cfg": {
        "num_points": Slot("sampled"),
        "oversample_ratio": 3.0,
        "importance_sample_ratio": 0.75,
        **_matching({"type": "mmdet.CrossEntropyLossCost", "use_sigmoid": True}),
    },
}
"""Keys of Mask2FormerHead and their forms."""

KERNEL_UPDATE = {
    "type": "KernelUpdateHead",
    "num_classes": Slot("num_classes"),
    "num_ffn_fcs": 2,
    "num_heads": Slot("heads"),
    "num_mask_fcs": Slot("mask_layers"),
    "feedforward_channels": Slot("inner"),
    "in_channels": Slot("channels"),
    "out_channels": Slot("channels"),
    "dropout": Slot("update_dropout"),
    "conv_kernel_size": 1,
    "ffn_act_cfg": RELU,
    "act_cfg": Maybe(RELU),
    "with_ffn": True,
    "feat_transform_cfg": {"conv_cfg": {"type": "Conv2d"}, "act_cfg": None},
    "kernel_init": Maybe(False),
    "feat_gather_stride": Maybe(1),
    "mask_transform_stride": Maybe(1),
    "kernel_updator_cfg": {
        "type": "KernelUpdator",
        "in_channels": Slot("group"),
        "feat_channels": Slot("group"),
        "out_channels": Slot("group"),
        "act_cfg": RELU,
        "norm_cfg": {"type": "LN"},
    },
}
"""One of K-Net's rounds."""
