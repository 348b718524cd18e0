"""Box2Mask-C on a ResNet-50: BoxLevelSet that learns local consistency as well; its authors never published its code,
the weight is that of Box2Mask-T."""

_base_ = ["boxlevelset_r50.py"]
losses = [dict(type="BoxLevelSet", consistency=0.2)]
