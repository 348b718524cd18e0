"""Fine-tuning, CamVid 7-4; its first step is the start of all others here."""

_base_ = "../../_base_/incremental/camvid.py"
