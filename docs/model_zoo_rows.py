"""Rows of docs/model_zoo.md: one per file of configs/_base_/models. A new system adds its line, and
`python docs/make_model_zoo.py` writes the page."""

from dataclasses import dataclass

MMSEG = "mmsegmentation 1.2.2, R50, one scale"
TRANSFORMERS = "mmsegmentation 1.2.2, one scale"
TWINS = "[Twins, Chu et al., NeurIPS 2021](https://arxiv.org/abs/2104.13840)"
NO_CODE = "no parity: there is no public code to trust, the paper's formulas decide"

SCALES = "[Attention to Scale, Chen et al., CVPR 2016](https://arxiv.org/abs/1511.03339)"
SCSE = (
    "[Concurrent Spatial and Channel Squeeze & Excitation, Roy et al., MICCAI 2018](https://arxiv.org/abs/1803.02579)"
)
LEVEL_SET = (
    "[Box-supervised Instance Segmentation with Level Sets, Li et al., ECCV 2022](https://arxiv.org/abs/2207.09055)"
)
BOX2MASK = "[Box2Mask, Li et al., TPAMI 2024](https://arxiv.org/abs/2212.01579)"
BOXINST = "[BoxInst, Tian et al., CVPR 2021](https://arxiv.org/abs/2012.02310)"
BOXTEACHER = "[BoxTeacher, Cheng et al., CVPR 2023](https://arxiv.org/abs/2210.05174)"
MAL = "[MAL, Lan et al., CVPR 2023](https://arxiv.org/abs/2301.03992)"
DISCOBOX = "[DiscoBox, Lan et al., ICCV 2021](https://arxiv.org/abs/2105.06464)"
HMSA = "[Hierarchical Multi-Scale Attention, Tao et al., 2020](https://arxiv.org/abs/2005.10821)"
STAR = "[Saving 100x Storage: Prototype Replay, Chen et al., NeurIPS 2023](https://github.com/jinpeng0528/STAR)"
MIB = "[Modeling the Background for Incremental Learning, Cermelli et al., CVPR 2020](https://arxiv.org/abs/2002.00718)"

TASKS = {
    **dict.fromkeys(("ritm_", "focalclick_", "simpleclick_", "segnext_clicks_"), "clicks"),
    **dict.fromkeys(("mib_", "rcil_", "star_"), "class steps"),
    **dict.fromkeys(("boxlevelset_", "box2mask_", "boxinst_", "boxteacher_", "discobox_", "mal_"), "masks from boxes"),
    **dict.fromkeys(("mask2former_", "maskformer_"), "queries"),
    **dict.fromkeys(("segfix_", "cascadepsp_"), "refinement"),
}
"""Beginning of a config's name -> what the system is for, where that is not semantic segmentation."""


@dataclass(frozen=True)
class Entry:
    """system: its name; scores: published, by data set, mIoU in percent unless said; source: of the scores, "paper"
    where they are quoted without having been looked up again; maps: key maps of files that load; parity: in words,
    where there is more to say than tests/test_oracles_*.py do; paper: the module that cites it, or a link; the head's
    module where it is ""."""

    system: str
    scores: str = ""
    source: str = ""
    maps: tuple[str, ...] = ()
    parity: str = ""
    paper: str = ""


def mmseg(
    system: str,
    cityscapes: str,
    ade20k: str = "",
    voc: str = "",
    *,
    key_map: str = "mmseg_attention",
    more: tuple[str, ...] = (),
    paper: str = "",
) -> Entry:
    """A row with the scores of mmsegmentation: Cityscapes 80k steps, ADE20K 160k, VOC 2012 aug 40k."""
    sets = (("Cityscapes", cityscapes), ("ADE20K", ade20k), ("VOC", voc))
    scores = ", ".join(f"{name} {score}" for name, score in sets if score)
    return Entry(system, scores, MMSEG, (key_map, *more), paper=paper)


ROWS: dict[str, Entry] = {
    # encoder-decoders
    "fcn_r50": mmseg("FCN, dilated", "73.61", "36.10", "66.97", key_map="mmseg"),
    "fcn32s_vgg16": Entry("FCN-32s"),
    "fcn16s_vgg16": Entry("FCN-16s"),
    "fcn8s_vgg16": Entry("FCN-8s", "VOC test 62.2", "paper"),
    "hypercolumns_vgg16": Entry("Hypercolumns", parity=NO_CODE),
    "hypercolumns_unet": Entry("Hypercolumns on U-Net", parity=NO_CODE, paper="segkit.archs.hypercolumns"),
    "deconvnet": Entry(
        "DeconvNet: the network and its 224 crops, without the stage of proposals",
        "VOC test 72.5",
        "paper, with 50 proposals an image, CRF and FCN-8s",
        paper="segkit.archs.deconvnet",
    ),
    "segnet": Entry("SegNet", "CamVid 60.1", "paper"),
    "unet_original": Entry("U-Net", paper="segkit.archs.unet_original"),
    "unet_padded": Entry("U-Net, padded", paper="segkit.archs.unet_original"),
    "unet_s5-d16": Entry(
        "U-Net S5-D16",
        "Cityscapes 69.10 (160k)",
        MMSEG.replace(", R50", ""),
        ("mmseg_unet",),
        paper="segkit.archs.unet_original",
    ),
    "unet_r34": Entry("U-Net on ResNet-34", maps=("smp_unet", "smp_unet_depth4")),
    "unet_r34_scse": Entry("U-Net with scSE", maps=("smp_unet",), paper=SCSE),
    "unetplusplus_r34": Entry("UNet++ on ResNet-34", maps=("smp_unetplusplus", "smp_unetplusplus_depth4")),
    "linknet_r34": Entry("LinkNet on ResNet-34", maps=("smp_linknet", "smp_linknet_depth4")),
    "manet_r34": Entry("MA-Net on ResNet-34", maps=("smp_manet", "smp_manet_depth4")),
    "unet_r34_unpooled": Entry("U-Net, a dilated convolution for the max pooling"),
    "unet_efficientnet-lite0": Entry("U-Net on EfficientNet-Lite0"),
    "attention_unet_r34": Entry("Attention U-Net"),
    "refinenet_r101": Entry("RefineNet", "Cityscapes 73.6", "README of EMANet"),
    "gcn_r152": Entry("GCN", "VOC test 83.6, Cityscapes 76.9", "README of EMANet"),
    "exfuse_r101": Entry("ExFuse", "VOC test 86.2", "README of EMANet", parity=NO_CODE),
    "pan_r50": Entry("PAN", "VOC test 84.0 (R101)", "paper", ("smp_pan",)),
    "fpn_r50": Entry("FPN", maps=("smp_fpn", "smp_fpn_cat")),
    "dupsampling_r50": Entry("DUpsampling", "VOC test 88.1 (Xception-71)", "paper", parity=NO_CODE),
    "semfpn_r50": mmseg("Semantic FPN", "74.52", "37.49", key_map="mmseg_context"),
    "segnext_t": Entry(
        "SegNeXt", "ADE20K 41.50, S 44.16, B 48.03, L 50.99", "mmsegmentation 1.2.2, one scale", ("mmseg_segnext",)
    ),
    "lraspp_mobilenet-v3-l": Entry(
        "LR-ASPP",
        "Cityscapes 69.54, S 64.11",
        "mmsegmentation 1.2.2, one scale",
        ("mmseg_lraspp", "mmseg_lraspp_small"),
    ),
    "lraspp_torchvision": Entry(
        "LR-ASPP of torchvision",
        "COCO val, classes of VOC: 57.9",
        "torchvision",
        ("torchvision_lraspp", "torchvision_deeplabv3_mobilenet"),
    ),
    "deeplabv3plus_mobilenet-v2": Entry(
        "DeepLabv3+ on MobileNetV2", "Cityscapes 75.20", "mmsegmentation 1.2.2, one scale", ("mmseg_mobilenet_v2",)
    ),
    "semfpn_poolformer_s12": Entry(
        "Semantic FPN on PoolFormer",
        "ADE20K 36.68, S24 40.12, S36 41.61, M36 41.95, M48 42.43",
        "mmsegmentation 1.2.2, one scale",
        ("mmseg_poolformer",),
        paper="[MetaFormer, Yu et al., CVPR 2022](https://arxiv.org/abs/2111.11418)",
    ),
    "deeplabv3_mobilevit-s": Entry(
        "DeepLabv3 on MobileViT-S",
        "",
        "",
        ("hf_mobilevit",),
        paper="[MobileViT, Mehta and Rastegari, ICLR 2022](https://arxiv.org/abs/2110.02178)",
    ),
    "upernet_r50": mmseg("UPerNet", "78.19", "42.05", "75.92", key_map="mmseg_context", more=("smp_upernet",)),
    "segformer_mit-b0": Entry(
        "SegFormer",
        "ADE20K 37.41 (B0), 40.97 (B1), 45.58 (B2), 47.82 (B3), 48.46 (B4), 49.13 (B5), Cityscapes 76.54 (B0), 78.56, "
        "81.08, 81.94, 81.89, 82.25 (B5)",
        "mmsegmentation 1.2.2",
        ("mmseg_segformer",),
    ),
    "segformer_original_mit-b0": Entry(
        "SegFormer, the authors' head (their weights are for non-commercial use)",
        maps=("segformer", "hf_segformer", "smp_segformer", "smp_segformer_stem"),
    ),
    "upernet_swin-t": Entry(
        "UPerNet on Swin",
        "ADE20K 44.41 (T), 47.72 (S), 47.99 (B), 50.13 (B, 22k), 50.76 (B, 22k, windows of 12)",
        TRANSFORMERS,
        ("mmseg_swin", "hf_upernet_swin"),
    ),
    "upernet_convnext-t": Entry(
        "UPerNet on ConvNeXt",
        "ADE20K 46.11 (T), 48.56 (S), 48.71 (B)",
        TRANSFORMERS,
        ("mmseg_convnext", "hf_upernet_convnext"),
    ),
    "upernet_deit-s16": Entry(
        "UPerNet on DeiT-S", "ADE20K 42.87, 43.82 with a multi-level neck", TRANSFORMERS, ("mmseg_vit",)
    ),
    "upernet_vit-b16_ln-mln": Entry("UPerNet on ViT-B/16", "ADE20K 47.73", TRANSFORMERS, ("mmseg_vit",)),
    "upernet_beit-b": Entry("UPerNet on BEiT", "ADE20K 53.08 (B), 56.33 (L)", TRANSFORMERS, ("mmseg_beit",)),
    "upernet_mae-b": Entry(
        "UPerNet on MAE (its weights are for non-commercial use)", "ADE20K 48.13", TRANSFORMERS, ("mmseg_beit",)
    ),
    "twins_pcpvt-s_fpn": Entry(
        "Semantic FPN on Twins-PCPVT",
        "ADE20K 43.26 (S), 45.66 (B), 45.94 (L)",
        TRANSFORMERS,
        ("mmseg_twins",),
        paper=TWINS,
    ),
    "twins_svt-s_uper": Entry(
        "UPerNet on Twins-SVT",
        "ADE20K 46.08 (S), 48.04 (B), 49.65 (L)",
        TRANSFORMERS,
        ("mmseg_twins",),
        paper=TWINS,
    ),
    "dpt_vit-b16": Entry("DPT", "ADE20K 46.97", TRANSFORMERS, ("mmseg_dpt",)),
    "dpt_smp_vit-b16": Entry("DPT, segmentation_models' form", maps=("smp_dpt",)),
    "dpt_original_vit-b16": Entry("DPT, the authors' form, with a second classifier", maps=("hf_dpt",)),
    "setr_naive_vit-l": Entry("SETR, naive upsampling", "ADE20K 48.28", TRANSFORMERS, ("mmseg_setr",)),
    "setr_pup_vit-l": Entry("SETR, progressive upsampling", "ADE20K 48.24", TRANSFORMERS, ("mmseg_setr",)),
    "setr_mla_vit-l": Entry("SETR, multi-level aggregation", "ADE20K 47.39", TRANSFORMERS, ("mmseg_setr_mla",)),
    "sfnet_r18": Entry("SFNet", "Cityscapes 79.0", "README of SFSegNets"),
    "sfnet_r50": Entry("SFNet on ResNet-50", "Cityscapes 80.4", "README of SFSegNets"),
    # dilation and context
    "deeplab_v1_vgg16": Entry("DeepLab v1, LargeFOV"),
    "deeplab_v1_vgg16_msc": Entry("DeepLab v1, MSc-LargeFOV", "VOC test 71.6 (with CRF)", "paper"),
    "deeplab_v1_r101": Entry("DeepLab v1 on ResNet-101", paper="segkit.archs.deeplab_v1"),
    "deeplab_v2_r101": Entry("DeepLab v2, one scale"),
    "deeplab_v2_r101_msc": Entry("DeepLab v2", "VOC val 76.35, with CRF 77.69", "authors' release"),
    "deeplab_v2_vgg16": Entry("DeepLab v2 on VGG-16"),
    "parsenet_vgg16": Entry("ParseNet", "VOC test 69.8", "paper"),
    "parsenet_vgg16_late": Entry("ParseNet, late fusion"),
    "attention_to_scale_vgg16": Entry("Attention to Scale", paper=SCALES),
    "denseaspp_densenet121": Entry("DenseASPP on DenseNet-121", maps=("denseaspp",)),
    "denseaspp_densenet161": Entry("DenseASPP", "Cityscapes 79.9", "README of DenseASPP", ("denseaspp",)),
    "hanet_r101": Entry("HANet", "Cityscapes test 80.9", "README of HANet"),
    "gscnn_wrn38": Entry(
        "Gated-SCNN",
        "Cityscapes 80.8, test 82.8",
        "paper",
        ("gscnn",),
        parity="outputs (gscnn); the released weights want model.head.canny_of_normalized=True",
    ),
    "gscnn_r50": Entry("Gated-SCNN on ResNet"),
    "deeplabv3_r50": mmseg(
        "DeepLabv3", "79.32", "42.66", "77.68", key_map="mmseg", more=("smp_deeplabv3", "torchvision_deeplabv3")
    ),
    "deeplabv3_r50_paper": Entry("DeepLabv3, the paper's form with multi-grid"),
    "deeplabv3plus_r50": mmseg("DeepLabv3+", "80.09", "43.95", "76.81", key_map="mmseg", more=("smp_deeplabv3plus",)),
    "deeplabv3plus_xception65": Entry(
        "DeepLabv3+, the paper's form on Xception-65", "VOC val 79.79, test 87.8", "paper"
    ),
    "deeplabv3plus_r50_paper": Entry("DeepLabv3+, the paper's head on ResNet-50"),
    "deeplabv3plus_efficientnet-lite0": Entry("DeepLabv3+ on EfficientNet-Lite0"),
    "pspnet_r50": mmseg("PSPNet", "78.55", "42.48", "77.29", key_map="mmseg", more=("smp_pspnet", "semseg_psp")),
    "encnet_r50": mmseg("EncNet", "77.94", "40.10", key_map="mmseg_context"),
    "fastfcn_r50": mmseg(
        "FastFCN (JPU), EncNet's head", "77.97", "42.50", key_map="mmseg_context", paper="segkit.archs.fastfcn"
    ),
    "fastfcn_psp_r50": mmseg(
        "FastFCN (JPU), PSPNet's head", "79.26", "42.63", key_map="mmseg_context", paper="segkit.archs.fastfcn"
    ),
    "fastfcn_deeplabv3_r50": mmseg(
        "FastFCN (JPU), DeepLabv3's head", "79.12", "43.58", key_map="mmseg_context", paper="segkit.archs.fastfcn"
    ),
    "dmnet_r50": mmseg("DMNet", "79.07", "43.15", key_map="mmseg_context"),
    "apcnet_r50": mmseg("APCNet", "78.96", "43.40", key_map="mmseg_context"),
    "cacnet_r50": Entry("CaC-Net", "ADE20K 46.12 (R101)", "paper", parity=NO_CODE),
    "sanet_r50": Entry("SANet", "VOC test 83.2 (R101)", "paper", parity=NO_CODE),
    "cpnet_r50": Entry("CPNet", "ADE20K 46.3, Cityscapes 81.3 (R101)", "README of ContextPrior"),
    # attention
    "ocnet_r50": Entry("OCNet, base", "Cityscapes 79.3 (R101)", "README of OCNet"),
    "ocnet_r50_asp": Entry("OCNet with ASP", "Cityscapes 79.5 (R101)", "README of OCNet"),
    "ocnet_r50_pyramid": Entry("OCNet, pyramid"),
    "psanet_r50": mmseg("PSANet", "77.24", "41.67", "76.30", key_map="mmseg_psa", more=("semseg_psa",)),
    "danet_r50": mmseg("DANet", "79.34", "42.45", "76.37"),
    "cfnet_r50": Entry("Co-occurrent features (CFNet)", "ADE20K 44.89 (R101)", "paper"),
    "ann_r50": mmseg("ANN", "77.34", "41.74", "76.56", key_map="mmseg_ann"),
    "emanet_r50": mmseg("EMANet", "77.59"),
    "ocrnet_r50": Entry(
        "OCRNet on ResNet", "Cityscapes 80.09 (R101, 40k)", MMSEG.replace(", R50", ""), ("mmseg_attention",)
    ),
    "ocrnet_hr18": Entry(
        "OCRNet on HRNet",
        "Cityscapes 78.57, ADE20K 39.32, VOC 74.98",
        MMSEG.replace("R50", "W18"),
        ("mmseg_hrnet", "hrnet_ocr"),
    ),
    "auto_deeplab": Entry(
        "Auto-DeepLab-S, derived network",
        "Cityscapes 79.74 (-M 80.04, -L 80.33) with several scales and flips",
        "paper",
        parity="size: the published count of S, M and L to the last weight; the authors' network needs TensorFlow 1",
    ),
    "auto_deeplab_resized": Entry(
        "Auto-DeepLab, searched again",
        "Cityscapes 79.8 with F = 32",
        "README of NoamRosenberg/autodeeplab",
        ("auto_deeplab",),
        parity="outputs (that code)",
        paper="segkit.archs.auto_deeplab",
    ),
    "auto_deeplab_search": Entry(
        "Auto-DeepLab, search network",
        maps=("auto_deeplab_search",),
        parity="outputs, gradients of the architecture, decoded genotypes (NoamRosenberg/autodeeplab)",
        paper="segkit.archs.auto_deeplab",
    ),
    "fasterseg_student": Entry(
        "FasterSeg, student",
        "Cityscapes 73.1, test 71.5",
        "paper",
        ("fasterseg",),
        parity="outputs, size, multiply-additions, decoding (VITA-Group/FasterSeg)",
        paper="segkit.archs.fasterseg",
    ),
    "fasterseg_teacher": Entry(
        "FasterSeg, teacher",
        parity="size, multiply-additions, decoding (VITA-Group/FasterSeg)",
        paper="segkit.archs.fasterseg",
    ),
    "fasterseg_search": Entry(
        "FasterSeg, search network",
        maps=("fasterseg_search",),
        parity="mixed operations with gradients, latencies (VITA-Group/FasterSeg)",
        paper="segkit.archs.fasterseg_search",
    ),
    "dynamic_routing_l16": Entry(
        "Dynamic Routing",
        "Cityscapes 76.7; with budgets A, B, C 73.9, 74.3, 74.8",
        "README of DynamicRouting",
        ("dynamic_routing",),
        parity="outputs (dynamic_routing)",
        paper="segkit.archs.dynamic_routing",
    ),
    "dynamic_routing_l33": Entry(
        "Dynamic Routing, 33 layers",
        "Cityscapes 79.4, from ImageNet weights",
        "README of DynamicRouting",
        ("dynamic_routing",),
        parity="names",
        paper="segkit.archs.dynamic_routing",
    ),
    "hmsa_hr48": Entry(
        "HMSA on OCRNet, scales 0.5, 1 and 2",
        "Cityscapes 84.7, with auto-labelled coarse images 86.92",
        "README of NVIDIA/semantic-segmentation",
        ("hmsa",),
        paper=HMSA,
        parity="outputs, losses and gradients (NVIDIA's code); whole network within 1e-3, as its activations reach 1e3",
    ),
    **{
        f"eomt_dinov2-{size}": Entry(
            f"EoMT on DINOv2-{size.upper()}",
            "ADE20K 58.4, Cityscapes 84.2 at 1024" if size == "l" else "",
            "README of tue-mps/eomt" if size == "l" else "",
            ("eomt", "hf_eomt"),
            parity="outputs, masked and not (EoMT, Hugging Face)" if size == "s" else "names",
        )
        for size in "sbl"
    },
    **{
        f"eomt_dinov3-{size}": Entry(
            f"EoMT on DINOv3-{size.upper()}",
            "ADE20K 59.5" if size == "l" else "",
            "README of tue-mps/eomt" if size == "l" else "",
            ("eomt_dinov3", "hf_eomt_dinov3"),
            parity="outputs, masked and not (EoMT)" if size == "s" else "names",
        )
        for size in "sbl"
    },
    **{
        f"segmenter_vit-{size}_mask": Entry(
            f"Segmenter on ViT-{size.upper()}, mask transformer",
            f"ADE20K {score}",
            "mmsegmentation 1.2.2",
            ("mmseg_segmenter", "segmenter"),
            parity="outputs (mmseg)" if size == "t" else "names",
        )
        for size, score in (("t", 39.99), ("s", "46.19"), ("b", "49.60"), ("l", "52.16"))
    },
    "segmenter_vit-s_fcn": Entry(
        "Segmenter on ViT-S, linear head",
        "ADE20K 45.75",
        "mmsegmentation 1.2.2",
        ("mmseg_segmenter",),
        parity="names",
        paper="segkit.archs.segmenter",
    ),
    "dinov2-s_linear": Entry(
        "DINOv2-S, frozen, linear head",
        "ADE20K 44.3",
        "paper",
        ("dinov2", "hf_dinov2"),
        parity="outputs of the encoder (Hugging Face)",
    ),
    **{
        f"dinov{version}-s_{head}": Entry(
            f"{system} on DINOv{version}-S",
            parity="no; decoder and encoder are held to their sources in other rows",
            paper=f"segkit.archs.{head}",
        )
        for version in (2, 3)
        for head, system in (("upernet", "UPerNet"), ("dpt", "DPT"))
    },
    "dinov3-s_linear": Entry(
        "DINOv3-S, frozen, linear head",
        "ADE20K 47.0",
        "paper",
        ("dinov3", "hf_dinov3"),
        parity="outputs of the encoder (Hugging Face)",
    ),
    "segfix_hr48": Entry(
        "SegFix on HRNet, boundaries for a refiner",
        "Cityscapes 81.1 to 81.6 behind HRNet-W48, 79.6 to 80.7 behind OCRNet-R101",
        "README of openseg.pytorch",
        ("segfix", "segfix_abn"),
        parity="outputs, targets, loss and gradients, offsets (openseg.pytorch); released files want "
        "model.head.negative_slope=0.01",
    ),
    "segfix_hr2x20": Entry(
        "SegFix on HRNet2x",
        "Cityscapes 81.1 to 81.7 behind HRNet-OCR",
        "README of openseg.pytorch",
        ("segfix", "segfix_abn"),
        parity="outputs (openseg.pytorch); released files want model.head.negative_slope=0.01",
    ),
    "segfix_hr18": Entry("SegFix on HRNet-W18"),
    "cascadepsp_r50": Entry(
        "CascadePSP, three passes",
        maps=("cascadepsp",),
        parity="outputs, losses, gradients and inference (cascadepsp)",
    ),
    "fcn_hr18": Entry(
        "HRNet",
        "Cityscapes 78.65, ADE20K 36.79, VOC 72.90",
        MMSEG.replace("R50", "W18"),
        ("mmseg_hrnet", "hrnet"),
        paper="segkit.backbones.hrnet",
    ),
    "nonlocal_r50": mmseg("NonLocal", "78.01", "42.03", "76.65"),
    "gcnet_r50": mmseg("GCNet", "78.48", "42.37", "76.24"),
    "dnl_r50": mmseg("DNL", "79.33", "41.87"),
    "ccnet_r50": mmseg("CCNet", "79.03", "42.08", "75.96"),
    "isanet_r50": mmseg("ISANet", "78.68", "42.59", "76.20"),
    # points and real time
    "pointrend_r50": mmseg("PointRend", "76.47", "37.64", key_map="mmseg_pointrend"),
    "icnet_r50": mmseg(
        "ICNet", "76.29 (160k, from ImageNet weights)", key_map="mmseg_icnet", paper="segkit.archs.icnet"
    ),
    "fast_scnn": Entry(
        "Fast-SCNN",
        "Cityscapes 70.96 (160k)",
        MMSEG.replace(", R50", ""),
        ("mmseg_fast_scnn",),
        paper="segkit.archs.fast_scnn",
    ),
    **{
        name: Entry(
            title,
            f"Cityscapes {score}",
            MMSEG.replace(", R50", ""),
            (key_map,),
            paper=f"segkit.archs.{key_map.removeprefix('mmseg_')}",
        )
        for name, title, score, key_map in (
            ("ddrnet_23-slim", "DDRNet-23-slim", "77.84 (120k, from ImageNet weights)", "mmseg_ddrnet"),
            ("ddrnet_23", "DDRNet-23", "79.99 (120k, from ImageNet weights)", "mmseg_ddrnet"),
            ("pidnet_s", "PIDNet-S", "78.74 (120k, from ImageNet weights)", "mmseg_pidnet"),
            ("pidnet_m", "PIDNet-M", "80.22 (120k, from ImageNet weights)", "mmseg_pidnet"),
            ("pidnet_l", "PIDNet-L", "80.89 (120k, from ImageNet weights)", "mmseg_pidnet"),
            ("stdc1", "STDC1", "71.82, from ImageNet weights 74.94", "mmseg_stdc"),
            ("stdc2", "STDC2", "73.15, from ImageNet weights 76.67", "mmseg_stdc"),
            ("bisenet_r18", "BiSeNet", "74.37 (160k, from ImageNet weights)", "mmseg_bisenet"),
            ("bisenet_r50", "BiSeNet, ResNet-50", "77.68 (160k, from ImageNet weights)", "mmseg_bisenet"),
            ("bisenetv2", "BiSeNet V2", "73.21 (160k)", "mmseg_bisenetv2"),
            ("cgnet", "CGNet", "68.27 (60k)", "mmseg_cgnet"),
            ("erfnet", "ERFNet", "72.5 (160k)", "mmseg_erfnet"),
        )
    },
    "efficientvit_b0": Entry(
        "EfficientViT-B0; B1 to B3, L1 and L2 by other widths",
        "Cityscapes 75.65, B3 83.02, ADE20K B3 49.01",
        "README of efficientvit",
        ("efficientvit", "efficientvit_ade20k", "efficientvit_large", "efficientvit_large_ade20k"),
        parity="outputs (efficientvit), L1 and L2 as well",
    ),
    "contextnet": Entry("ContextNet", "Cityscapes test 66.1", "paper", paper="segkit.archs.contextnet"),
    "espnet": Entry(
        "ESPNet",
        "Cityscapes test 60.34, CamVid 55.64",
        "README of ESPNet",
        ("espnet",),
        paper="segkit.archs.espnet",
        parity="names; CamVid's file needs CamVid's model.backbone.mean and std, the default are Cityscapes'",
    ),
    "espnet_p2_q3": Entry(
        "ESPNet, the released weights",
        maps=("espnet",),
        paper="segkit.archs.espnet",
        parity="outputs (espnet); the released weights label CamVid's streets",
    ),
    "espnet_c": Entry("ESPNet-C", maps=("espnet_c",), paper="segkit.archs.espnet"),
    # classes in steps
    "mib_r101_os16": Entry("MiB", maps=("mib", "csseg"), parity="outputs (MiB)", paper=MIB),
    "rcil_r101_os16": Entry("RCIL", maps=("rcil",), parity="block and head (RCIL)", paper="segkit.archs.rcil"),
    "star_r101_os16": Entry("STAR", maps=("star",), parity="outputs (STAR)", paper=STAR),
    # clicks
    **{
        name: Entry(f"RITM, {title}", maps=("ritm",), parity="outputs (RITM)")
        for name, title in {
            "ritm_hrnet18s": "HRNet-18s",
            "ritm_hrnet18": "HRNet-18",
            "ritm_hrnet32": "HRNet-32",
            "ritm_r34": "ResNet-34",
            "ritm_r50": "ResNet-50",
            "ritm_r101": "ResNet-101",
        }.items()
    },
    **{
        f"focalclick_{name}": Entry(
            f"FocalClick, {title}",
            maps=(keys,),
            paper="[FocalClick, Chen et al., CVPR 2022](https://arxiv.org/abs/2204.02574)",
            parity=f"{parity} (FocalClick)",
        )
        for name, title, keys, parity in (
            ("hrnet18s", "HRNet-18s", "focalclick", "outputs"),
            ("hrnet32", "HRNet-32", "focalclick", "parameters"),
            ("segformer-b0", "SegFormer-B0", "focalclick_segformer", "outputs"),
            ("segformer-b3", "SegFormer-B3", "focalclick_segformer", "outputs"),
        )
    },
    **{
        f"simpleclick_{size}": Entry(f"SimpleClick, {title}", maps=("simpleclick",), parity=f"{parity} (SimpleClick)")
        for size, title, parity in (
            ("xt", "xTiny", "outputs"),
            ("b", "ViT-B", "outputs"),
            ("l", "ViT-L", "names"),
            ("h", "ViT-H", "outputs"),
        )
    },
    "segnext_clicks_b": Entry(
        "SegNext (interactive), ViT-B",
        maps=("segnext_clicks",),
        paper="[SegNext, Liu et al., CVPR 2024](https://arxiv.org/abs/2404.00741)",
        parity="outputs (SegNext)",
    ),
    # instances
    "boxlevelset_r50": Entry("BoxLevelSet", maps=("boxlevelset",), parity="outputs (BoxLevelSet)", paper=LEVEL_SET),
    "boxlevelset_r101_dcn": Entry(
        "BoxLevelSet on ResNet-101 with deformable convolutions", maps=("boxlevelset",), parity="names", paper=LEVEL_SET
    ),
    "box2mask_r50": Entry("Box2Mask-T", maps=("box2mask",), parity="outputs (Box2Mask)", paper=BOX2MASK),
    "box2mask_swin_t": Entry("Box2Mask-T on Swin-T", maps=("box2mask",), parity="names", paper=BOX2MASK),
    "box2mask_swin_l": Entry("Box2Mask-T on Swin-L", maps=("box2mask",), parity="names", paper=BOX2MASK),
    "box2mask_c_r50": Entry("Box2Mask-C", paper=BOX2MASK),
    "boxinst_r50": Entry("BoxInst", maps=("boxinst",), parity="names", paper=BOXINST),
    "boxteacher_r50": Entry("BoxTeacher", maps=("boxteacher",), parity="outputs (BoxTeacher)", paper=BOXTEACHER),
    "boxteacher_swin_b": Entry("BoxTeacher on Swin-B", maps=("boxteacher",), parity="names", paper=BOXTEACHER),
    "discobox_r50": Entry("DiscoBox", paper=DISCOBOX),
    "mal_vit-b": Entry("MAL", maps=("mal",), parity="outputs, losses, gradients and pseudo labels (MAL)", paper=MAL),
    # queries and kernels
    "mask2former_r50": Entry(
        "Mask2Former",
        "ADE20K 47.2, Cityscapes 79.4",
        "the authors' repository (weights CC BY-NC 4.0)",
        ("mmseg_mask2former", "mask2former"),
        "outputs (mmsegmentation)",
    ),
    "mask2former_swin_t": Entry(
        "Mask2Former on Swin-T",
        "ADE20K 47.7, Cityscapes 82.1",
        "the authors' repository (weights CC BY-NC 4.0)",
        ("mmseg_mask2former", "hf_mask2former", "mask2former_swin"),
        "outputs (Hugging Face)",
    ),
    "maskformer_r50": Entry("MaskFormer", "ADE20K 44.29", MMSEG, ("mmseg_maskformer",), "outputs (mmsegmentation)"),
    "maskformer_swin_t": Entry(
        "MaskFormer on Swin-T",
        "ADE20K 46.69",
        "mmsegmentation 1.2.2, one scale",
        ("mmseg_maskformer", "hf_maskformer"),
        "outputs (Hugging Face)",
    ),
    "knet_r50": Entry(
        "K-Net with UPerNet", "ADE20K 43.45", MMSEG, ("mmseg_knet", "mmseg_knet_swin"), "outputs (mmsegmentation)"
    ),
}
