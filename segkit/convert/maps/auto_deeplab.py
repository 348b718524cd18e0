"""Key maps of NoamRosenberg/autodeeplab: its derived network and its search network."""

from segkit.convert.keymap import KeyMap, Rule
from segkit.convert.maps.smp import pool_first

URL = "https://github.com/NoamRosenberg/autodeeplab"

DERIVED: tuple[Rule, ...] = (
    (r"^module\.", ""),
    (r"^encoder\.stem(\d)\.0\.", r"backbone.stem.\1.conv."),
    (r"^encoder\.stem(\d)\.1\.op\.0\.", r"backbone.stem.\1.bn."),
    (r"^encoder\.cells\.(\d+)\.pre_preprocess\.op\.", r"backbone.before.\1."),
    (r"^encoder\.cells\.(\d+)\.preprocess\.op\.", r"backbone.last.\1."),
    *((rf"^encoder\.cells\.(\d+)\._ops\.{i}\.op\.", rf"backbone.cells.\1.blocks.{i // 2}.{i % 2}.") for i in range(10)),
    (r"^aspp\.aspp1\.", "head.aspp.pointwise.conv."),
    (r"^aspp\.aspp1_bn\.op\.0\.", "head.aspp.pointwise.bn."),
    *((rf"^aspp\.aspp{i + 2}\.", f"head.aspp.dilated.{i}.conv.") for i in range(3)),
    *((rf"^aspp\.aspp{i + 2}_bn\.op\.0\.", f"head.aspp.dilated.{i}.bn.") for i in range(3)),
    (r"^aspp\.aspp5\.", "head.aspp.image_pool.project.conv."),
    (r"^aspp\.aspp5_bn\.op\.0\.", "head.aspp.image_pool.project.bn."),
    (r"^aspp\.conv2\.", "head.fuse.conv.", pool_first),
    (r"^aspp\.bn2\.op\.0\.", "head.fuse.bn."),
    (r"^decoder\.conv1\.", "head.low.conv."),
    (r"^decoder\.bn1\.op\.0\.", "head.low.bn."),
    *((rf"^decoder\.last_conv\.{3 * i}\.", f"head.refine.{i}.conv.") for i in (0, 1)),
    *((rf"^decoder\.last_conv\.{3 * i + 1}\.op\.0\.", f"head.refine.{i}.bn.") for i in (0, 1)),
    (r"^decoder\.last_conv\.6\.", "head.classifier."),
)

SEARCH: tuple[Rule, ...] = (
    (r"^module\.", ""),
    (r"^(alphas|betas)$", r"backbone.\1"),
    (r"^stem(\d)\.0\.", r"backbone.stem.\1.conv."),
    (r"^stem(\d)\.1\.", r"backbone.stem.\1.bn."),
    (r"^cells\.(\d+)\.pre_preprocess\.op\.", r"backbone.cells.\1.before."),
    *(
        (rf"^cells\.(\d+)\.preprocess_{name}\.op\.", rf"backbone.cells.\1.sources.{i}.")
        for i, name in enumerate(("up", "same", "down"))
    ),
    # "none", the first of the operations, is no module here
    *(
        (rf"^cells\.(\d+)\._ops\.(\d+)\._ops\.{i}\.(?:op\.)?", rf"backbone.cells.\1.edges.\2.operations.{i - 1}.")
        for i in range(1, 8)
    ),
    *((rf"^aspp_{4 * 2**i}\.0\.", f"head.pyramids.{i}.") for i in range(4)),
    (r"^(head\.pyramids\.\d\.)conv11\.", r"\1pointwise."),
    (r"^(head\.pyramids\.\d\.)conv33\.", r"\1dilated."),
    (r"^(head\.pyramids\.\d\.)conv_p\.", r"\1image_pool.project."),
    (r"^(head\.pyramids\.\d\.(?:pointwise|dilated|image_pool\.project)\.)0\.", r"\1conv."),
    (r"^(head\.pyramids\.\d\.(?:pointwise|dilated|image_pool\.project)\.)1\.", r"\1bn."),
    (r"^(head\.pyramids\.\d\.)concate_conv\.", r"\1fuse."),
    (r"^(head\.pyramids\.\d\.)concate_bn\.", r"\1norm."),
    (r"^(head\.pyramids\.\d\.)final_conv\.", r"\1classify."),
)

MAPS = {
    "auto_deeplab": KeyMap("Auto-DeepLab, searched again", DERIVED, URL, score={"Cityscapes val mIoU, F 32": 79.8}),
    "auto_deeplab_search": KeyMap("Auto-DeepLab's search network", SEARCH, URL),
}
