"""Under which licences the published weights stand that segkit reads, as the repositories that release them say.

LICENCES: (whose weights, licence, whether it forbids commercial use, where it is said).
"""

LICENCES = (
    (
        "SegFormer, MiT encoders (NVlabs, nvidia/segformer-*)",
        "NVIDIA Source Code License",
        "forbidden: research and evaluation only",
        "[README](https://github.com/NVlabs/SegFormer)",
    ),
    (
        "Mask2Former, original",
        "CC BY-NC 4.0 (the code: MIT)",
        "forbidden",
        "[model zoo](https://github.com/facebookresearch/Mask2Former/blob/main/MODEL_ZOO.md)",
    ),
    (
        "MaskFormer, original",
        "CC BY-NC 4.0",
        "forbidden",
        "[repository](https://github.com/facebookresearch/MaskFormer)",
    ),
    ("MAE encoders", "CC BY-NC 4.0", "forbidden", "[README](https://github.com/facebookresearch/mae)"),
    (
        "HMSA (NVIDIA/semantic-segmentation)",
        "CC BY-NC-SA 4.0",
        "forbidden",
        "[LICENSE](https://github.com/NVIDIA/semantic-segmentation)",
    ),
    (
        "DINOv3 encoders, EoMT on them",
        "DINOv3 License; downloads are gated",
        "see its terms",
        "[repository](https://github.com/facebookresearch/dinov3)",
    ),
    (
        "MobileViT (apple/*)",
        "Apple sample code licence",
        "see its terms",
        "[hub](https://huggingface.co/apple/deeplabv3-mobilevit-small)",
    ),
    ("DINOv2 encoders", "Apache-2.0", "allowed", "[repository](https://github.com/facebookresearch/dinov2)"),
    ("EoMT on DINOv2", "MIT, its encoder's Apache-2.0", "allowed", "[repository](https://github.com/tue-mps/eomt)"),
    (
        "DeiT encoders",
        "Apache-2.0; the first releases were CC BY-NC 4.0",
        "allowed",
        "[repository](https://github.com/facebookresearch/deit)",
    ),
    (
        "Swin, BEiT, ConvNeXt, HRNet, Segmenter, PIDNet, DDRNet, RITM",
        "MIT",
        "allowed",
        "the repositories of their authors",
    ),
    (
        "mmsegmentation's model zoo, SegNeXt, Twins, PoolFormer, timm's own",
        "Apache-2.0",
        "allowed",
        "their repositories",
    ),
    (
        "SimpleClick, SegNext (interactive)",
        "MIT; their ViT-B, L and H start from MAE's, CC BY-NC 4.0",
        "see its terms",
        "[repository](https://github.com/uncbiag/SimpleClick)",
    ),
    ("torchvision", "BSD-3-Clause", "allowed", "[repository](https://github.com/pytorch/vision)"),
    (
        "segmentation_models.pytorch",
        "MIT",
        "allowed",
        "[repository](https://github.com/qubvel-org/segmentation_models.pytorch)",
    ),
)

NOTE = """
## Licences of published weights

segkit's code is MIT; the weights are not segkit's. The table states licences as the repositories of the weights do.
A licence may change, so ask there before you sell anything that uses the weights. Rows that name a README, a model zoo
or a LICENSE were looked up there; the others are quoted. mmsegmentation's own files start from encoders of others: a
SegFormer of its zoo begins with NVIDIA's MiT. ImageNet, ADE20K, Cityscapes and COCO have terms of their own, several
of them for research alone.
"""

ROWS_OF = (
    (("segformer", "mit_b"), 0),
    (("dinov3",), 5),
    (("dinov2",), 7),
    (("mobilevit",), 6),
    (("deit",), 9),
    (("mae", "vit_base_patch16_224.mae"), 3),
    (("segnext", "mscan", "twins", "poolformer"), 11),
    (("swin", "beit", "convnext", "hrnet", "ritm", "pidnet", "ddrnet"), 10),
)
"""Parts of the name of base weights, and the row of LICENCES that says under which licence they stand."""


def licence_of(base: str) -> str | None:
    """Returns the licence of base weights in a sentence's part, None where it is not known.

    Args:
        base: name of the weights: an encoder of timm, a file, or a repository.
    """
    name = base.lower()
    for parts, row in ROWS_OF:
        if any(part in name for part in parts):
            whose, licence, commercial, _ = LICENCES[row]
            return f"{licence} ({whose}; commercial use: {commercial})"
    return None
