"""MicroSeg's head against the published one: tests/fixtures/steps. 5 unknown outputs, background, 3 and 2 classes."""

import gzip
import json

import torch

from segkit.archs.microseg import MicroSegHead, composed_map, region_means
from segkit.convert.keymap import load_map
from tests.incremental.steps_oracle import FOLDER, by_rule, stored


def head() -> MicroSegHead:
    file = FOLDER / "microseg_head_5-1-3-2.json.gz"
    shapes = json.loads(gzip.decompress(file.read_bytes()))["shapes"]
    module = MicroSegHead((8,), 5, num_unknown=5, rates=(1, 2, 3)).eval()
    module.classifier.add(2)
    published = {
        f"classifier.{name}": by_rule(f"classifier.{name}", tuple(shapes[name]))
        for name in shapes
        if not name.endswith("num_batches_tracked")
    }
    weights = load_map("microseg").apply(published)
    module.load_state_dict({name.removeprefix("head."): value for name, value in weights.items()}, strict=True)
    return module.eval()


@torch.no_grad()
def test_head_is_the_published_one():
    arrays = {name: torch.from_numpy(value) for name, value in stored("microseg.npz").items()}
    # every second row and column is stored, of blocks of two by two
    proposals = arrays["head/proposal_ids"].long().repeat_interleave(2, 1).repeat_interleave(2, 2)[:, :9, :11]
    module = head()
    outputs = module([arrays["head/input"]], proposals + 1)
    logits, composed = arrays["head/proposal_logits"], arrays["head/composed_sub"]
    assert float((outputs["proposal_logits"][:, :12] - logits).abs().max()) < 1e-4 * float(logits.std())
    assert float((outputs["unknown"][..., ::2, ::2] - composed[:, :5]).abs().max()) < 1e-4 * float(composed.std())
    merged = module.classifier.merged(composed)
    assert float((outputs["logits"][..., ::2, ::2] - merged).abs().max()) < 1e-4 * float(merged.std())
    pixels = module.classifier.merged(arrays["head/pixel_logits"])
    assert float((outputs["pixel.logits"] - pixels).abs().max()) < 1e-4 * float(pixels.std())


def test_regions_by_hand():
    """Proposal 0 has two pixels, 2 has one, 1 none; one pixel has no proposal."""
    features, proposals = torch.tensor([[[[1.0, 3.0], [5.0, 7.0]]]]), torch.tensor([[[0, 0], [2, -1]]])
    assert region_means(features, proposals, 3).flatten().tolist() == [2.0, 0.0, 5.0]
    of_regions = torch.tensor([[[10.0], [20.0], [30.0]]])
    assert composed_map(of_regions, proposals).flatten().tolist() == [10.0, 10.0, 30.0, 0.0]
