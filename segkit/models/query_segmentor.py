"""A segmentor whose head puts queries among the tokens of the backbone itself."""

from collections.abc import Sequence
from typing import NamedTuple, cast

from torch import Tensor, nn

from segkit.models.bases import Backbone, Head, QueryHead
from segkit.models.segmentor import Segmentor, check_base
from segkit.registry import MODELS, ConfigError
from segkit.types import Outputs


class Tokens(NamedTuple):
    """The state between two blocks of a Vision Transformer.

    Attributes:
        x: float [B,Q + P + N,C]: Q queries, P class and register tokens, N = h * w patches, row by row.
        size: (h, w).
        rotation: float [N,2 D], sines and cosines of a rotary position embedding; None where positions are added.
    """

    x: Tensor
    size: tuple[int, int]
    rotation: Tensor | None

    @property
    def patches(self) -> Tensor:
        """The patches as a map, float [B,C,h,w]."""
        return self.x[:, -self.size[0] * self.size[1] :].transpose(1, 2).unflatten(2, self.size)


class TokenBackbone(Backbone):
    """A backbone whose blocks map tokens to tokens, and that can be run block by block.

    Attributes:
        num_blocks: number of blocks.
    """

    num_blocks: int

    def embed(self, image: Tensor) -> Tokens:
        """Cuts images into patches, and adds positions, class and register tokens.

        Args:
            image: float [B,C,H,W], normalized.

        Returns:
            Tokens before the first block.
        """
        raise NotImplementedError(f"{type(self).__name__} gives no embed()")

    def add_queries(self, tokens: Tokens, queries: Tensor) -> Tokens:
        """Puts queries, float [Q,C], in front of the tokens; they have no position."""
        raise NotImplementedError(f"{type(self).__name__} gives no add_queries()")

    def block(self, number: int, tokens: Tokens, mask: Tensor | None = None) -> Tokens:
        """Runs a block.

        Args:
            number: of the block, 0..num_blocks - 1.
            tokens: before it.
            mask: bool [B,1,T,T], True where the token of a row attends to that of a column; None for everywhere.

        Returns:
            Tokens behind it.
        """
        raise NotImplementedError(f"{type(self).__name__} gives no block()")

    def normalized(self, tokens: Tokens) -> Tokens:
        """Applies the final normalization."""
        raise NotImplementedError(f"{type(self).__name__} gives no normalized()")


class TokenHead(QueryHead):
    """A head whose queries go through the backbone's last blocks.

    A subclass gives `forward(image: Tensor, encoder: TokenBackbone) -> Outputs`, the outputs of a QueryHead.

    Attributes:
        num_blocks: number of blocks with queries, the last ones.
    """

    num_blocks: int

    def anneal(self, step: int, total: int) -> None:
        """Called before each training step with its number, from 0 on, and the number of all steps."""


@MODELS.register
class QuerySegmentor(Segmentor):
    """A segmentor without decoder: queries of the head go through the last blocks of the backbone, as in EoMT.

    Args:
        num_classes, backbone, head, neck, aux, align_corners: as in Segmentor; the backbone is a TokenBackbone such as
            QueryViT, the head a TokenHead such as EoMTHead; there are no neck and no auxiliary heads.

    Raises:
        ConfigError: the backbone cannot be run block by block, the head has no use for it, both do not fit, or a neck
            or auxiliary heads are given.
    """

    def __init__(
        self,
        num_classes: int,
        backbone: Backbone,
        head: Head,
        *,
        neck: nn.Module | None = None,
        aux: tuple[Head, ...] = (),
        align_corners: bool = False,
    ):
        check_base(backbone, TokenBackbone, "model.backbone")
        check_base(head, TokenHead, "model.head")
        if neck is not None or aux:
            raise ConfigError(f"model.{'aux' if aux else 'neck'}: QuerySegmentor has none; remove it")
        number, largest = cast(TokenHead, head).num_blocks, cast(TokenBackbone, backbone).num_blocks
        if number > largest:
            raise ConfigError(
                f"model.head.num_blocks = {number}: the backbone has {largest} blocks; give at most as many"
            )
        super().__init__(num_classes, backbone, head, align_corners=align_corners)

    def called_parts(self) -> list[nn.Module]:
        """Returns none: the head runs the encoder part by part."""
        return []

    def start_step(self, step: int, total: int) -> None:
        """Tells the head how far the training is; see Network.start_step."""
        cast(TokenHead, self.head).anneal(step, total)

    def forward(self, image: Tensor, window: Sequence[tuple[float, ...]] | None = None) -> Outputs:
        """Predicts from images.

        Args:
            image: uint8, or float in 0..255, RGB [B,C,H,W].
            window: as in Segmentor; not used.

        Returns:
            The outputs of a QueryHead.
        """
        return self.head(self.normalize(image), self.backbone)
