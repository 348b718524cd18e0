"""Rows of the attention heads and of HRNet."""

from tests.arch_rows.row import Row

R18 = ("model.backbone.name='resnet18'", "model.backbone.pretrained=None", "model.head.channels=32")
WIDTH = ("model.backbone.width=4", "model.backbone.num_blocks=1", "model.backbone.num_modules=[1,1,1]")
HR4 = (*WIDTH, "model.backbone.pretrained=None")

ROWS = {
    "nonlocal_r50": Row(50_023_814, 24_131_859, 208.3, small=R18),
    "gcnet_r50": Row(49_630_215, 23_738_260, 197.6, small=R18),
    "dnl_r50": Row(50_024_327, 24_132_372, 208.3, small=R18),
    "ccnet_r50": Row(49_826_055, 23_934_100, 200.9, small=R18),
    "isanet_r50": Row(37_707_398, 11_815_443, 149.7, small=(*R18, "model.head.attention_channels=16")),
    "danet_r50": Row(49_846_574, 23_954_619, 210.8, small=R18),
    "ann_r50": Row(46_228_614, 20_336_659, 185.2, small=(*R18, "model.head.attention_channels=16")),
    # The published 42,349,958 and 16,458,003 include the 262,656 of a convolution that is not trained.
    "emanet_r50": Row(42_087_302, 16_195_347, 169.3, small=(*R18, "model.head.attention_channels=32")),
    # 200.8 GMAC are published; here only the part of a mask that falls on the map is computed.
    "psanet_r50": Row(59_138_694, 33_246_739, small=(*R18, "model.head.mask_size=[17,17]")),
    "ocnet_r50": Row(38_625_670, 10_369_043, small=R18),
    "ocnet_r50_asp": Row(43_444_998, 15_188_371, small=R18),
    "ocnet_r50_pyramid": Row(43_487_110, 15_230_483, small=R18, compiles_slowly=True),
    # With ResNet-101 it has the published 55,516,294 and 12,996,902.
    "ocrnet_r50": Row(36_524_166, 12_996_902, small=(*R18, "model.head.relation_channels=16")),
    "ocrnet_hr18": Row(
        12_080_036, 2_517_776, 53.3, small=(*HR4, "model.head.channels=32", "model.head.coarse_channels=60")
    ),
    # Of which the trunk has 65,325,120 and the attention of the scales 1,770,752.
    "hmsa_hr48": Row(
        72_143_430,
        5_047_558,
        branch="scale0.",
        compiles_slowly=True,
        small=(
            *HR4,
            "model.head.channels=32",
            "model.head.relation_channels=16",
            "model.head.coarse_channels=60",
            "model.attention_channels=16",
            "model.test_scales=[0.5,1.0]",
        ),
    ),
    "fcn_hr18": Row(9_640_849, 78_589, 18.4, small=(*HR4, "model.head.channels=60")),
}
