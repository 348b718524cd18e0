"""MicroSeg's head against the published one: tests/fixtures/steps. 5 unknown outputs, background, 3 and 2 classes."""

import gzip
import json
import re

import torch

from segkit.archs.microseg import MicroSegHead, composed_map, region_means
from tests.incremental.steps_oracle import FOLDER, by_rule, stored

NAMES = (
    (r"^aspp\.convs\.0\.0\.", "aspp.pointwise.conv."),
    (r"^aspp\.convs\.0\.1\.", "aspp.pointwise.bn."),
    (r"^aspp\.convs\.4\.1\.", "aspp.image_pool.project.conv."),
    (r"^aspp\.convs\.4\.2\.", "aspp.image_pool.project.bn."),
    *((rf"^aspp\.convs\.{i}\.0\.", f"aspp.dilated.{i - 1}.conv.") for i in (1, 2, 3)),
    *((rf"^aspp\.convs\.{i}\.1\.", f"aspp.dilated.{i - 1}.bn.") for i in (1, 2, 3)),
    (r"^aspp\.project\.0\.", "fuse.conv."),
    (r"^aspp\.project\.1\.", "fuse.bn."),
    (r"^head\.(\d)\.", r"pixels.\1."),
    (r"^head2\.(\d)\.0\.", r"pixels.\1.3."),
    (r"^proposal_head\.", "regions."),
)
"""The published names, then those here."""


def head() -> MicroSegHead:
    file = FOLDER / "microseg_head_5-1-3-2.json.gz"
    shapes = json.loads(gzip.decompress(file.read_bytes()))["shapes"]
    module = MicroSegHead((8,), (5, 1, 3, 2), rates=(1, 2, 3)).eval()
    weights = {}
    for name, shape in shapes.items():
        renamed = name
        for pattern, ours in NAMES:
            renamed = re.sub(pattern, ours, renamed)
        is_counter = name.endswith("num_batches_tracked")
        value = torch.zeros((), dtype=torch.int64) if is_counter else by_rule(f"classifier.{name}", tuple(shape))
        if name == "aspp.project.0.weight":
            value = torch.cat([value[:, -256:], value[:, :-256]], 1)  # the image's feature is the first one here
        weights[renamed] = value
    module.load_state_dict(weights, strict=True)
    return module


@torch.no_grad()
def test_head_is_the_published_one():
    arrays = {name: torch.from_numpy(value) for name, value in stored("microseg.npz").items()}
    # every second row and column is stored, of blocks of two by two
    proposals = arrays["head/proposal_ids"].long().repeat_interleave(2, 1).repeat_interleave(2, 2)[:, :9, :11]
    module = head()
    outputs = module([arrays["head/input"]], proposals, 12)
    logits, composed = arrays["head/proposal_logits"], arrays["head/composed_sub"]
    assert float((outputs["proposal_logits"] - logits).abs().max()) < 1e-4 * float(logits.std())
    assert float((outputs["unknown"][..., ::2, ::2] - composed[:, :5]).abs().max()) < 1e-4 * float(composed.std())
    merged = module.merged(composed)
    assert float((outputs["logits"][..., ::2, ::2] - merged).abs().max()) < 1e-4 * float(merged.std())
    pixels = module.merged(arrays["head/pixel_logits"])
    assert float((outputs["pixel.logits"] - pixels).abs().max()) < 1e-4 * float(pixels.std())


def test_regions_by_hand():
    """Proposal 0 has two pixels, 2 has one, 1 none; one pixel has no proposal."""
    features, proposals = torch.tensor([[[[1.0, 3.0], [5.0, 7.0]]]]), torch.tensor([[[0, 0], [2, -1]]])
    assert region_means(features, proposals, 3).flatten().tolist() == [2.0, 0.0, 5.0]
    of_regions = torch.tensor([[[10.0], [20.0], [30.0]]])
    assert composed_map(of_regions, proposals).flatten().tolist() == [10.0, 10.0, 30.0, 0.0]
