"""Key map of the published checkpoints of BoxTeacher: of the two networks in a file, the teacher, which is tested."""

from torch import Tensor

from segkit.convert.keymap import KeyMap, Rule

URL = "https://github.com/hustvl/BoxTeacher"


def as_scalar(value: Tensor) -> Tensor:
    """A tensor of one number without a dimension."""
    return value.reshape(())


def rgb_order(value: Tensor) -> Tensor:
    """A weight [C,3,h,w] that reads blue, green, red as one that reads red, green, blue."""
    return value.flip(1)


NETWORKS: tuple[Rule, ...] = ((r"^student\.", None), (r"^teacher\.", ""))

RESNET: tuple[Rule, ...] = (
    (r"^backbone\.bottom_up\.stem\.conv1\.norm\.", "backbone.encoder.bn1."),
    (r"^backbone\.bottom_up\.stem\.conv1\.", "backbone.encoder.conv1.", rgb_order),
    *((rf"^backbone\.bottom_up\.res{i + 1}\.", f"backbone.encoder.layer{i}.") for i in range(1, 5)),
    (r"^(backbone\.encoder\.layer\d\.\d+)\.shortcut\.norm\.", r"\1.downsample.1."),
    (r"^(backbone\.encoder\.layer\d\.\d+)\.shortcut\.", r"\1.downsample.0."),
    (r"^(backbone\.encoder\.layer\d\.\d+)\.conv(\d)\.norm\.", r"\1.bn\2."),
    (r"^(backbone\.encoder\.layer\d\.\d+)\.conv2_offset\.", r"\1.conv2.conv_offset."),
)

SWIN: tuple[Rule, ...] = (
    (r"^backbone\.bottom_up\..*\.relative_position_index$", None),  # follows from the size of the windows
    (r"^backbone\.bottom_up\.norm(\d)\.", r"backbone.norms.\1."),
    (r"^backbone\.bottom_up\.patch_embed\.", "backbone.encoder.patch_embed."),
    # there a stage ends with patch merging, here the next one begins with it
    *(
        (rf"^backbone\.bottom_up\.layers\.{i}\.downsample\.", f"backbone.encoder.layers_{i + 1}.downsample.")
        for i in range(3)
    ),
    (r"^backbone\.bottom_up\.layers\.(\d)\.", r"backbone.encoder.layers_\1."),
)

HEAD: tuple[Rule, ...] = (
    *((rf"^backbone\.fpn_lateral{i + 3}\.", f"neck.laterals.{i}.conv.") for i in range(3)),
    *((rf"^backbone\.fpn_output{i + 3}\.", f"neck.outputs.{i}.conv.") for i in range(3)),
    *((rf"^backbone\.top_block\.p{i + 6}\.", f"neck.extra.{i}.conv.") for i in range(2)),
    (r"^proposal_generator\.fcos_head\.cls_tower\.", "head.category_tower."),
    (r"^proposal_generator\.fcos_head\.bbox_tower\.", "head.box_tower."),
    # convolution, normalization and ReLU are three modules each there
    *((rf"^(head\.(?:category|box)_tower)\.{3 * i}\.", rf"\1.{i}.conv.") for i in range(4)),
    *((rf"^(head\.(?:category|box)_tower)\.{3 * i + 1}\.(?!conv)", rf"\1.{i}.norm.") for i in range(4)),
    (r"^proposal_generator\.fcos_head\.cls_logits\.", "head.categories."),
    (r"^proposal_generator\.fcos_head\.bbox_pred\.", "head.distances."),
    (r"^proposal_generator\.fcos_head\.ctrness\.", "head.centerness."),
    (r"^proposal_generator\.fcos_head\.scales\.(\d)\.scale$", r"head.scales.\1", as_scalar),
    (r"^mask_branch\.(refine|tower)\.(\d)\.0\.", r"head.masks.\1.\2.conv."),
    (r"^mask_branch\.(refine|tower)\.(\d)\.1\.", r"head.masks.\1.\2.bn."),
    (r"^mask_branch\.tower\.", "head.masks.tower."),
    (r"^controller\.", "head.controllers."),
    # constants, and the number of steps, which the losses count
    (r"^mask_head\.", None),
)

MAPS = {"boxteacher": KeyMap("BoxTeacher", (*NETWORKS, *RESNET, *SWIN, *HEAD), URL)}
