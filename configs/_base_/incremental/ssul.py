"""SSUL: later steps train the heads of unknown objects, of the background (hardly) and of the new classes alone.

All of the background is unknown; saliency=FOLDER and unknown="salient" in the losses where there are saliency maps.
"""

_base_ = "finetune.py"
runner = dict(
    init="unknown",
    convention="ssul",
    evaluation_mode=True,
    train_only=[r"classifier\.(unknown|background)\.", r"classifier\.steps\.{new}\."],
    losses=[dict(type="PseudoLabelBCE")],
)
