"""The search network of FasterSeg, Chen et al., ICLR 2020, https://arxiv.org/abs/1912.10917, section 3.

Teacher and student are searched together: they share the cells, and each has a stem, a decoder and an architecture of
its own.
"""

import re
from collections.abc import Iterable
from typing import Annotated, Any, cast

import torch
from torch import Tensor, nn

from segkit.archs._fasterseg_decode import decode
from segkit.archs._fasterseg_genotype import STRIDES, UNIT, Genotype, num_filters
from segkit.archs._fasterseg_latency import Timed, network_latency, scaled, stem_operations
from segkit.archs._fasterseg_mixed import Choice, chosen, gumbel_one_hot
from segkit.archs._fasterseg_operations import stem, stem_channels
from segkit.archs._fasterseg_supernet import (
    ANSWERS,
    Architecture,
    SearchCell,
    SearchDecoder,
    cell_inputs,
    weighted,
)
from segkit.constraints.named import OneOf, PositiveFloat, PositiveInt, Rounds
from segkit.models.layers import IMAGENET_MEAN, IMAGENET_STD, per_channel
from segkit.models.timed_search import SearchHead, TimedSearch
from segkit.readers.latency_table import LatencyTable
from segkit.registry import BACKBONES, HEADS, ConfigError
from segkit.types import Outputs

NETWORKS = ("teacher", "student")

SEARCH_PASSES = ("teacher.widest", "student.sampled", "student.widest", "student.narrowest")
"""What each step of the search trains: both architectures, and the ends of the slimmable weights."""


ALPHAS_SHARE, RATIOS_SHARE = 1 / 500, 2 / 500
"""Of the latency's gradient, as in the authors' code: what is left is the paths'."""


@BACKBONES.register
class FasterSegSearch(TimedSearch):
    """All networks of FasterSeg's search space at once, of a teacher and of a student.

    Weights of operations, of paths and of widths (of the student alone) are learned beside those of the operations.
    Widths are drawn anew in each pass by Gumbel softmax. In training it gives three maps, of strides 8, 16 and 32, for
    each of `passes`; in evaluation those of the student with its likeliest widths. Sides of the image must be multiples
    of 32.

    Args:
        layers: L, cells on a path.
        base: channels of a map of stride s are s x base at full width.
        widths: that are chosen from, in twelfths, rising; the last is 12.
        student_width: of the student's stem and decoder, one of `widths`; the teacher's are full.
        passes: "teacher" or "student", a dot, and the widths: "widest", "narrowest", "random" or, of the student,
            "sampled" by their weights. A number at the end tells passes apart.
        in_channels: channels of the image.
        mean: mean of each image channel, in 0..255.
        std: standard deviation of each image channel, in 0..255.

    Raises:
        ConfigError: fewer than six layers, widths that do not rise to 12 or make no multiples of 8 channels, or an
            unknown pass.
    """

    order = "RGB"
    strides = STRIDES + STRIDES
    answers = ("8_32", "16_32")

    def __init__(
        self,
        layers: Rounds = 16,
        base: PositiveInt = 12,
        *,
        widths: tuple[PositiveInt, ...] = (4, 6, 8, 10, 12),
        student_width: PositiveInt = 8,
        passes: tuple[str, ...] = SEARCH_PASSES,
        in_channels: PositiveInt = 3,
        mean: tuple[float, ...] = IMAGENET_MEAN,
        std: tuple[PositiveFloat, ...] = IMAGENET_STD,
    ):
        super().__init__()
        if layers < 6:
            raise ConfigError(f"layers = {layers}: must be 6 or more, for a path to stride 32 to be chosen")
        if list(widths) != sorted({*widths}) or not widths or widths[-1] != UNIT:
            raise ConfigError(f"widths = {list(widths)}: must rise, in twelfths, to 12")
        if any(base * width % UNIT for width in widths):
            raise ConfigError(
                f"base = {base}, widths = {list(widths)}: base x width must be a multiple of 12, since channels "
                "come in eights"
            )
        if student_width not in widths:
            raise ConfigError(f"student_width = {student_width}: must be one of widths = {list(widths)}")
        self.mean, self.std = per_channel(mean, in_channels), per_channel(std, in_channels)
        self.layers, self.base, self.widths, self.passes = layers, base, tuple(widths), checked_passes(passes)
        self.head_width = {"teacher": UNIT, "student": student_width}
        self.channels = tuple(num_filters(s, base, self.head_width[name]) for name in NETWORKS for s in STRIDES)
        self.stems = nn.ModuleDict(
            {name: stem(in_channels, stem_channels(base, self.head_width[name])) for name in NETWORKS}
        )
        self.cells = nn.ModuleList(
            nn.ModuleList(
                SearchCell(num_filters(STRIDES[s], base), self.widths, halves=s < 2 and layer < layers - 1)
                for s in range(min(layer + 1, len(STRIDES)))
            )
            for layer in range(layers)
        )
        self.networks = nn.ModuleDict(
            {"teacher": Architecture(layers, 1), "student": Architecture(layers, len(self.widths))}
        )

    def _layers(self) -> list[list[SearchCell]]:
        return [list(cast(Iterable[SearchCell], cells)) for cells in self.cells]

    def _architecture_of(self, network: str) -> Architecture:
        return cast(Architecture, self.networks[network])

    def architecture(self) -> list[nn.Parameter]:
        """Returns the weights of operations, paths and widths of both networks."""
        return list(self.networks.parameters())

    def forward(self, image: Tensor, stem_add: Tensor | None = None) -> list[Tensor]:
        """Computes the maps after the last layer.

        Args:
            image: float [B,in_channels,H,W], normalized.
            stem_add: not taken.

        Returns:
            Of each pass three maps, float [B,C,H / s,W / s] for s in 8, 16, 32.

        Raises:
            ValueError: a side of the image is no multiple of 32.
        """
        if any(side % STRIDES[-1] for side in image.shape[-2:]):
            raise ValueError(
                f"an image of {image.shape[-2]} x {image.shape[-1]} pixels: the search network takes sides that are "
                "multiples of 32; crop to such a size, and set inference.pad_divisor=32"
            )
        passes = self.passes if self.training else ("student.likeliest",)
        return [x for name in passes for x in self._maps(image, *name.split("."))]

    def _maps(self, image: Tensor, network: str, how: str) -> list[Tensor]:
        """The maps of one pass."""
        weights = self._architecture_of(network).weights()
        alphas = [alpha.softmax(-1) for alpha in weights.alphas]
        betas = [None, *(beta.softmax(-1) for beta in weights.betas)]
        choices = self._choices(network, how)
        keep, down = [self.stems[network](image)], cast(list[Tensor], [])
        for layer, cells in enumerate(self._layers()):
            keeps, downs = [], []
            for scale, cell in enumerate(cells):
                inputs, shares = cell_inputs(keep, down, betas[scale], layer, scale)
                alpha = alphas[scale][layer - scale]
                before, after, halved = self._widths_at(choices, network, layer, scale)
                keeps.append(weighted([cell.keep(x, alpha, before, after) for x in inputs], shares))
                if cell.down is not None:
                    downs.append(weighted([cell.down(x, alpha, before, halved) for x in inputs], shares))
            keep, down = keeps, downs
        return keep

    def _choices(self, network: str, how: str) -> list[list[Choice]]:
        """The width of each map between layers, by scale; see SearchWeights.ratios for the rows."""
        ratios = self._architecture_of(network).weights().ratios
        if how.startswith("sampled"):
            return [[chosen(gumbel_one_hot(row)) for row in rows] for rows in ratios]
        if how == "likeliest" and not ratios[0].is_meta:  # without values, as when sizes are counted, the widest
            return [[Choice(int(row.argmax())) for row in rows] for rows in ratios]
        if how.startswith("random"):
            drawn = [torch.randint(len(self.widths), (len(rows),)).tolist() for rows in ratios]
            return [[Choice(width) for width in row] for row in drawn]
        width = 0 if how.startswith("narrowest") else len(self.widths) - 1
        return [[Choice(width)] * len(rows) for rows in ratios]

    def _widths_at(
        self, choices: list[list[Choice]], network: str, layer: int, scale: int
    ) -> tuple[Choice, Choice, Choice]:
        """The widths of what a cell reads, keeps at its size, and halves (of the last two what there is)."""
        outer = Choice(self.widths.index(self.head_width[network]))
        first = max(scale, 1)
        before = choices[scale][layer - first] if layer else outer
        if layer == self.layers - 1:
            return before, outer, outer
        halved = choices[scale + 1][layer - scale] if scale < 2 else outer
        return before, choices[scale][layer - first + 1], halved

    def latency(
        self,
        network: str,
        table: LatencyTable,
        size: tuple[int, int],
        *,
        alphas: bool = True,
        betas: bool = True,
        ratios: bool = True,
    ) -> Tensor:
        """Returns the expected milliseconds of a network's three paths together, without their decoder.

        What is not weighed counts evenly (operations, paths) or at full width. Unlike in the authors' code each path
        is weighed by the betas of its own scale, and a cell that halves does not also count its other half.

        Args:
            network: "teacher" or "student".
            table: of the machine.
            size: (H, W) of the image.
            alphas, betas, ratios: which weights count, and get gradients.

        Returns:
            float [].

        Raises:
            ConfigError: the table lacks an operation.
        """
        weights = self._architecture_of(network).weights()
        operations = [(a if alphas else torch.zeros_like(a)).softmax(-1) for a in weights.alphas]
        paths = [None, *((b if betas else torch.zeros_like(b)).softmax(-1) for b in weights.betas)]
        is_drawn = ratios and len(weights.ratios[0][0]) > 1
        choices = self._choices(network, "sampled" if is_drawn else "widest")
        times = [table[timed.name] for timed in stem_operations(self.base, self.head_width[network], size)]
        keep, down = [operations[0].new_tensor(sum(times))], cast(list[Tensor], [])
        for layer, cells in enumerate(self._layers()):
            keeps, downs = [], []
            for scale, cell in enumerate(cells):
                start = weighted(*cell_inputs(keep, down, paths[scale], layer, scale))
                alpha, at = operations[scale][layer - scale], scaled(size, STRIDES[scale])
                before, after, halved = self._widths_at(choices, network, layer, scale)
                keeps.append(start + cell.keep.latency(table, at, alpha, before, after))
                if cell.down is not None:
                    downs.append(start + cell.down.latency(table, at, alpha, before, halved))
            keep, down = keeps, downs
        return sum(keep[1:], keep[0])

    def expected_latency(self, table: LatencyTable, size: tuple[int, int]) -> Tensor:
        """Returns the student's expected milliseconds, by each kind of its weights in turn, in the published shares.

        Args:
            table: of the machine.
            size: (H, W) of the image.

        Returns:
            float [].
        """
        kinds = (
            (ALPHAS_SHARE, dict(alphas=True, betas=False, ratios=False)),
            (1 - ALPHAS_SHARE - RATIOS_SHARE, dict(alphas=False, betas=True, ratios=False)),
            (RATIOS_SHARE, dict(alphas=False, betas=False, ratios=True)),
        )
        terms = [share * self.latency("student", table, size, **kind) for share, kind in kinds]
        return sum(terms[1:], terms[0])

    def latencies(self, table: LatencyTable, size: tuple[int, int], num_classes: int) -> dict[str, float]:
        """Returns the milliseconds of the student with a second branch to stride 8, and to 16."""
        return {
            answer: network_latency(self.genotype("student", _lasts(answer)), table, size, num_classes)
            for answer in self.answers
        }

    def genotypes(self, answer: str) -> dict[str, dict[str, Any]]:
        """Returns the student's genotype and the teacher's, which has the same second branch; answer: "8_32", ..."""
        about = f"the {{}} that a search of {self.layers} layers has found"
        files = (("genotype.json", "student"), ("genotype_teacher.json", "teacher"))
        return {file: self.genotype(name, _lasts(answer)).content(about.format(name)) for file, name in files}

    def decode(self) -> dict[str, Any]:
        """Returns the student's genotype with branches to strides 32 and 16."""
        return self.genotypes(self.answers[-1])["genotype.json"]

    def genotype(self, network: str, lasts: tuple[int, ...]) -> Genotype:
        """Decodes the weights of a network.

        Args:
            network: "teacher" or "student".
            lasts: strides that its branches end at.
        """
        is_student = network == "student"
        widths = self.widths if is_student else (UNIT,)
        branches = decode(self._architecture_of(network).weights(), widths, skips=is_student)
        width = self.head_width[network]
        return Genotype(self.base, width, width, tuple(branches[last] for last in lasts))

    def timed(self, size: tuple[int, int], num_classes: int) -> list[Timed]:
        """Returns every operation that the search or one of its derived networks may look up, each once.

        Args:
            size: (H, W) of the image.
            num_classes: K.
        """
        found: dict[Timed, None] = {}
        for name in NETWORKS:
            found |= dict.fromkeys(stem_operations(self.base, self.head_width[name], size))
            found |= dict.fromkeys(self._decoder_operations(self.head_width[name], size, num_classes))
        every = range(len(self.widths))
        for scale, stride in enumerate(STRIDES):
            cell = self._layers()[-2][scale]  # all cells of a scale but the last layer's have the same operations
            for before in every:
                for after in every:
                    for mixed in (cell.keep, cell.down):
                        if mixed is not None:
                            found |= dict.fromkeys(mixed.timed(before, after, scaled(size, stride)))
        return list(found)

    def _decoder_operations(self, head_width: int, size: tuple[int, int], num_classes: int) -> list[Timed]:
        """Of the decoders of all derived networks: their maps may have any width."""
        found = []
        at = [scaled(size, stride) for stride in STRIDES]
        wide = [num_filters(stride, self.base, head_width) for stride in STRIDES]
        for scale in (1, 2):
            found.append(Timed("conv1x1", wide[scale], wide[scale - 1], at[scale]))
            for width in sorted({*self.widths, head_width}):
                skip = num_filters(STRIDES[scale - 1], self.base, width)
                found.append(Timed("conv3x3", wide[scale - 1] + skip, wide[scale - 1], at[scale - 1]))
        for branches in (1, 2, 3):
            found.append(Timed("conv1x1", branches * wide[0], branches * wide[0], at[0]))
            found.append(Timed("classify", branches * wide[0], num_classes, at[0]))
        return found


def _lasts(answer: str) -> tuple[int, ...]:
    """The branches of an answer, "16_32" -> (32, 16)."""
    return tuple(sorted(map(int, answer.split("_")), reverse=True))


def checked_passes(passes: tuple[str, ...]) -> tuple[str, ...]:
    """Returns the passes.

    Raises:
        ConfigError: there is none, one stands twice, or one is unknown.
    """
    known = r"(teacher|student)\.(widest|narrowest|random)\d*|student\.sampled\d*"
    for i, name in enumerate(passes):
        if not re.fullmatch(known, name) or name in passes[:i]:
            raise ConfigError(
                f"passes.{i} = '{name}': must be 'teacher' or 'student', a dot, and 'widest', 'narrowest', 'random' "
                "or, of the student, 'sampled'; a number at the end tells equal ones apart"
            )
    if not passes:
        raise ConfigError("passes = []: name at least one, such as 'student.sampled'")
    return tuple(passes)


@HEADS.register
class FasterSegSearchHead(SearchHead):
    """Predicts from the maps of FasterSegSearch.

    In training the outputs of a pass are "<pass>.logits_8", "..._16", "..._32", "..._8_32" and "..._16_32"; in
    evaluation "logits" is one of the student's five.

    Args:
        in_channels: of the teacher's three maps and the student's.
        num_classes: number of classes K.
        passes: as of the encoder.
        answer: which of the five is "logits": "16_32", that of the published student, or "8", "16", "32", "8_32".

    Raises:
        ConfigError: an unknown pass or answer.
    """

    classifier = None

    def __init__(
        self,
        in_channels: tuple[int, ...],
        num_classes: int,
        *,
        passes: tuple[str, ...] = SEARCH_PASSES,
        answer: Annotated[str, OneOf(ANSWERS)] = "16_32",
    ):
        super().__init__()
        self.passes, self.answer = checked_passes(passes), answer
        halves = (tuple(in_channels[:3]), tuple(in_channels[3:]))
        self.decoders = nn.ModuleDict(
            {name: SearchDecoder(channels, num_classes) for name, channels in zip(NETWORKS, halves)}
        )

    def forward(self, features: list[Tensor]) -> Outputs:
        """Predicts.

        Args:
            features: three maps of each pass, as of FasterSegSearch.

        Returns:
            In training the logits of all passes, in evaluation "logits"; float [B,K,H / 8,W / 8].
        """
        if not self.training:
            return {"logits": self.decoders["student"](features)[self.answer]}
        outputs: Outputs = {}
        for i, name in enumerate(self.passes):
            logits = self.decoders[name.split(".")[0]](features[3 * i : 3 * i + 3])
            outputs |= {f"{name}.logits_{answer}": value for answer, value in logits.items()}
        return outputs
