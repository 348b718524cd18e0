"""Small models as checkpoints and as graphs of ONNX, for tests of what runs them."""

import copy
from collections.abc import Sequence
from pathlib import Path

import onnx
import torch
from torch import Tensor, nn

from segkit.engine import checkpoint
from segkit.models.bases import Network, maps_of
from segkit.registry import build_model
from segkit.runtime.metadata import KEY, GraphInfo
from tests.tiny import sections

CLASSES = ["floor", "disk", "box", "star", "ring", "bar"]


class Maps(nn.Module):
    """From a uint8 image to maps at its size."""

    def __init__(self, net: Network, *, stride: int = 1):
        super().__init__()
        self.net, self.stride = net, stride

    def forward(self, image: Tensor) -> Tensor:
        outputs = self.net(image)
        if self.stride > 1:
            return outputs["logits"]
        return maps_of(self.net, outputs, (image.shape[-2], image.shape[-1]), self.net.align_corners)


def config(num_classes: int = 6, runner: dict | None = None, inference: dict | None = None) -> dict:
    """The sections of a tiny model of label maps."""
    cfg = sections()
    cfg["model"] = {**cfg["model"], "num_classes": num_classes, "aux": []}
    cfg["losses"] = cfg["losses"][:1]
    return {**cfg, "runner": runner or {"type": "Semantic"}, "inference": inference or {}}


def checkpoint_of(cfg: dict, path: Path, classes: Sequence[str] = CLASSES) -> Network:
    """Writes a checkpoint of random weights, whose classes all win somewhere; returns the network."""
    torch.manual_seed(3)
    net = build_model(copy.deepcopy(cfg["model"]))
    for name, value in net.named_parameters():
        if "classifier.weight" in name:
            nn.init.normal_(value, std=1.0)
    palette = [[40 * i, 255 - 40 * i, 90] for i in range(len(classes))]
    content = {"model": net.state_dict(), "config": cfg, "classes": list(classes), "palette": palette}
    checkpoint.save(path, {**content, "segkit_version": "0.2.0"})
    return net.eval()


def graph_of(
    module: nn.Module,
    inputs: dict[str, Tensor],
    path: Path,
    info: GraphInfo,
    *,
    free: Sequence[str] = ("image",),
) -> Path:
    """Writes a module as a graph with its description; batch, height and width of the inputs in `free` stay free."""
    axes = {name: {0: "batch", 2: "height", 3: "width"} for name in free}
    torch.onnx.export(
        module.eval(),
        tuple(inputs.values()),
        str(path),
        input_names=list(inputs),
        output_names=info.outputs,
        dynamic_axes=axes,
        dynamo=False,
    )
    proto = onnx.load(path)
    onnx.helper.set_model_props(proto, {KEY: info.text()})
    onnx.save(proto, path)
    return path


def semantic_graph(net: Network, path: Path, info: GraphInfo) -> Path:
    """Writes a network of label maps."""
    size = info.size or [32, 48]
    image = torch.zeros(info.batch or 1, 3, *size, dtype=torch.uint8)
    stride = 1 if info.resized else 2
    return graph_of(Maps(net, stride=stride), {"image": image}, path, info, free=() if info.size else ("image",))
