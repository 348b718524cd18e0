"""Objects inside objects (transforms of UntilObject, sets of Concat, the loss of OHEM) are checked as those outside."""

import pytest

from segkit.registry import ConfigError
from segkit.schema import check

MODEL = dict(num_classes=2, backbone=dict(type="PlainEncoder"), head=dict(type="UNetHead"))
FLIP, SHAPES = dict(type="Flip"), dict(type="Shapes")


def checked(**sections):
    check(dict(model=MODEL, **{"train": dict(dataset=SHAPES), **sections}))


@pytest.mark.parametrize("outer", ["UntilObject", "UntilBox"])
@pytest.mark.parametrize(
    ("inner", "message"),
    [
        ([dict(type="Flipp")], r"transforms\.0\.type = 'Flipp': no such transform; did you mean 'Flip'"),
        ([FLIP, dict(type="Flip", q=1)], r"transforms\.1\.q: Flip has no argument 'q'"),
        ([dict(p=1)], r"transforms\.0: type is missing"),
        ([dict(type="RandomCrop")], r"transforms\.0\.size: RandomCrop needs this argument"),
        (["Flip"], r"transforms\.0: expected dict\(type=\.\.\.\), got 'Flip'"),
        ([FLIP, None], r"transforms\.1: expected dict\(type=\.\.\.\), got None"),
        ([[FLIP]], r"transforms\.0: expected dict\(type=\.\.\.\), got \["),
        (FLIP, r"transforms: expected a list of dict\(type=\.\.\.\)"),
        ("Flip", r"transforms: expected dict\(type=\.\.\.\), got 'Flip'"),
        (None, r"transforms: expected dict\(type=\.\.\.\), got None"),
        ([dict(type="UntilBox", transforms=[dict(type="Flipp")])], r"transforms\.0\.transforms\.0\.type = 'Flipp'"),
    ],
)
def test_rows_inside_of_transforms(outer, inner, message):
    transforms = [FLIP, dict(type=outer, transforms=inner)]
    with pytest.raises(ConfigError, match=rf"train\.transforms\.1\.{message}"):
        checked(train=dict(dataset=SHAPES, transforms=transforms))


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        (dict(val=dict(dataset=dict(type="Concat", datasets=["x"]))), r"val\.dataset\.datasets\.0: expected dict"),
        (dict(val=dict(dataset=dict(type="Concat", datasets=SHAPES))), r"val\.dataset\.datasets: expected a list"),
        (dict(val=dict(dataset=dict(type="FewInstances", dataset="x"))), r"val\.dataset\.dataset: expected dict"),
        (dict(losses=[dict(type="OHEM", loss="CrossEntropy")]), r"losses\.0\.loss: expected dict"),
    ],
)
def test_data_sets_and_losses_inside(sections, message):
    with pytest.raises(ConfigError, match=message):
        checked(**sections)


def test_what_is_right_passes():
    rows = [dict(type="UntilBox", transforms=(FLIP, dict(type="UntilObject", transforms=[FLIP])))]
    checked(train=dict(dataset=dict(type="Concat", datasets=[SHAPES]), transforms=rows))
    checked(losses=[dict(type="OHEM", loss=None), dict(type="OHEM", loss=dict(type="Focal"))])
