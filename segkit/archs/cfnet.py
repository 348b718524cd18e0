"""Co-occurrent Features in Semantic Segmentation (CFNet), Zhang et al., CVPR 2019,
https://openaccess.thecvf.com/content_CVPR_2019/html/Zhang_Co-Occurrent_Features_in_Semantic_Segmentation_CVPR_2019_paper.html."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segkit.archs._encoding import Encoding
from segkit.constraints.named import Decay, PositiveInt, Rounds
from segkit.models.bases import Head
from segkit.models.layers import ConvBNReLU, ImagePool, at_level
from segkit.registry import HEADS
from segkit.types import Outputs


class AggregatedCooccurrence(nn.Module):
    """Aggregated co-occurrent feature: multi-head attention to the half-size map, each head a mixture of softmaxes.

    Section 3, eq. 4 to 6. The result is added to the input. Queries and keys share their weights.

    Args:
        channels: channels of input and output.
        num_heads: number of attention heads; divides channels.
        num_mix: softmaxes per mixture, each over channels / num_heads compared channels. Their shares depend on the
            image alone, through the mean of its queries.
        dropout: probability of dropping an attention weight in training.

    Raises:
        ValueError: channels is not a multiple of num_heads.
    """

    def __init__(self, channels: int, num_heads: int = 8, *, num_mix: int = 1, dropout: float = 0.1):
        super().__init__()
        if channels % num_heads:
            raise ValueError(f"channels = {channels}: must be a multiple of num_heads = {num_heads}")
        self.num_heads, self.num_mix, self.dropout = num_heads, num_mix, dropout
        compared = channels // num_heads * num_mix
        # The authors' code divides by the root of a head's compared channels, not of one softmax's share of them.
        self.scale = compared**-0.5
        self.compare = nn.Conv2d(channels, num_heads * compared, 1)
        nn.init.normal_(self.compare.weight, std=(2 / (channels + compared)) ** 0.5)
        self.value = nn.Conv2d(channels, channels, 1)
        self.share = nn.Parameter(torch.empty(num_mix, compared)) if num_mix > 1 else None
        if self.share is not None:
            nn.init.uniform_(self.share, -(num_mix**-0.5), num_mix**-0.5)
        self.out = nn.Conv2d(channels, channels, 1, bias=False)
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Applies the attention.

        Args:
            x: float [B,channels,h,w].

        Returns:
            Float [B,channels,h,w].
        """
        pooled = F.avg_pool2d(x, 3, 2, 1)
        queries = self.compare(x).flatten(2).unflatten(1, (self.num_heads, -1))
        keys = self.compare(pooled).flatten(2).unflatten(1, (self.num_heads, -1))
        values = self.value(pooled).flatten(2).unflatten(1, (self.num_heads, -1)).transpose(2, 3)
        mixed = self.attend(queries, keys, values).transpose(2, 3).flatten(1, 2).unflatten(2, x.shape[-2:])
        return self.norm(self.out(mixed)) + x

    def attend(self, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """Attends with every softmax of the mixtures and adds the results up by their shares.

        Computes sum_m share_m softmax(scale <q_m, k_m>) v over the softmaxes m of a head's mixture.

        Args:
            queries: float [B,num_heads,D,N], D compared channels, N positions.
            keys: float [B,num_heads,D,n].
            values: float [B,num_heads,n,d].

        Returns:
            Float [B,num_heads,N,d].
        """
        q, k = (x.unflatten(2, (self.num_mix, -1)).flatten(1, 2).transpose(2, 3) for x in (queries, keys))
        v = values.repeat_interleave(self.num_mix, dim=1)
        dropout = self.dropout if self.training else 0.0
        each = F.scaled_dot_product_attention(q, k, v, dropout_p=dropout, scale=self.scale)
        if self.share is None:
            return each
        shares = (queries.mean(3) @ self.share.T).softmax(2)[..., None, None]
        return (each.unflatten(1, (self.num_heads, self.num_mix)) * shares).sum(2)


@HEADS.register
class CFHead(Head):
    """Co-occurrent features beside the global mean, gated per channel by an image encoding as in EncNet.

    Section 3, figure 2; the defaults are those of the authors' code. The output "presence" is for the loss
    ClassPresence.

    Args:
        in_channels: channels of each feature map.
        num_classes: number of classes K.
        channels: width of the co-occurrent features and of the global mean.
        num_heads: attention heads of the co-occurrent features.
        num_mix: softmaxes per mixture.
        num_codes: codewords of the encoding.
        dropout: share of channels dropped before the classifier.
        level: map that the head reads, counted from the end; -1 is the deepest.
    """

    predicts = ("presence",)

    def __init__(
        self,
        in_channels: tuple[int, ...],
        num_classes: int,
        *,
        channels: PositiveInt = 512,
        num_heads: PositiveInt = 8,
        num_mix: Rounds = 1,
        num_codes: PositiveInt = 32,
        dropout: Decay = 0.1,
        level: int = -1,
    ):
        super().__init__()
        self.level = level
        width = 2 * channels
        self.reduce = ConvBNReLU(at_level(in_channels, level), channels)
        self.cooccur = AggregatedCooccurrence(channels, num_heads, num_mix=num_mix)
        self.pool = ImagePool(channels, channels)
        self.project = ConvBNReLU(width, width, 1)
        self.encode = Encoding(width, num_codes)
        self.norm = nn.BatchNorm1d(num_codes)
        self.gate = nn.Linear(width, width)
        self.presence = nn.Linear(width, num_classes)
        self.dropout = nn.Dropout2d(dropout)
        self.classifier = nn.Conv2d(width, num_classes, 1)

    def forward(self, features: list[Tensor]) -> Outputs:
        """Predicts class logits and the presence of each class.

        Args:
            features: feature maps, float [B,in_channels[i],h_i,w_i].

        Returns:
            "logits", float [B,K,h,w]; "embedding", float [B,2 * channels,h,w], the input of the classifier; "presence",
            float [B,K], logits of each class being in the image.
        """
        x = self.reduce(features[self.level])
        x = torch.cat([self.cooccur(x), self.pool(x)], dim=1)
        code = F.relu(self.norm(self.encode(self.project(x)))).mean(1)
        gate = torch.sigmoid(self.gate(code))[..., None, None]
        embedding = self.dropout(F.relu(x + x * gate))
        return {"logits": self.classifier(embedding), "embedding": embedding, "presence": self.presence(code)}
