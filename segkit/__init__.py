"""segkit: semantic, interactive, incremental and box-supervised segmentation training on PyTorch."""

__version__ = "0.1.0"
