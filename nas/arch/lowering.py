"""The one lowering: an architecture to the list of its layers with shapes.

Counting, building, the layer table, the digest and the exported source all consume this list, so they cannot
disagree. Shapes are those of one image: (C, H, W) for maps, (F,) for features.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from nas.arch.description import Architecture, Block, BlockLayers, Head, Norm, NormAct, Pool, Transition
from nas.arch.kinds import (
    SHIPPED_KINDS,
    TRAINED,
    layers_of_block,
    problem_of_kind,
    problem_of_options,
    problems_of_layers,
)
from nas.arch.operations import (
    Activation,
    AdaptiveAvgPool2d,
    Add,
    AvgPool2d,
    BatchNorm2d,
    Conv2d,
    Dropout,
    Dropout2d,
    Linear,
    MaxPool2d,
    Operation,
    Shape,
)
from nas.errors import ArchitectureError

IMAGE = -1  # the source of a layer that reads the input image


class Layer(NamedTuple):
    """One operation at its place in the network."""

    operation: Operation
    group: str  # the submodule it is part of, such as 'convblock1'; '' for a function (an addition, F.relu)
    use: int  # 0 the first time its submodule runs; 1, 2, … when the same weights run again
    sources: tuple[int, ...]  # indices of the layers it reads; IMAGE for the input
    input_shape: Shape
    output_shape: Shape
    num_params: int  # 0 where the weights were counted before
    num_macs: int  # multiply-accumulates for one image; convolutions and linear only


class Call(NamedTuple):
    """One step of `forward`: a submodule (or a function, with group '') and the layers that run in it."""

    group: str
    use: int
    layers: tuple[Layer, ...]
    sources: tuple[int, ...]  # indices into the list of calls; IMAGE for the input


def lower(architecture: Architecture) -> list[Layer]:
    """Return the layers of `architecture`, in the order in which they run.

    Raises:
        ArchitectureError: with every problem found: a map that shrinks to nothing, a shortcut or a repeated block
            whose shapes do not fit, groups that do not divide the channels, an even kernel with 'same' padding, a
            kind of block that is not known, or one whose layers do not fit together.
    """
    lowering = _Lowering(architecture)
    for index, item in enumerate(architecture.body):
        path = f"body[{index}]"
        if isinstance(item, Block):
            lowering.block(item, path)
        elif isinstance(item, Transition):
            lowering.transition(item, path)
        else:
            lowering.pool(item, path)
    lowering.head(architecture.head, architecture.classes)
    if lowering.problems:
        raise ArchitectureError("the architecture", lowering.problems)
    return lowering.layers


def calls(layers: list[Layer]) -> list[Call]:
    """Return the steps of `forward`: neighboring layers of one submodule run as one call."""
    result: list[Call] = []
    call_of = {IMAGE: IMAGE}
    for index, layer in enumerate(layers):
        if layer.group and result and (layer.group, layer.use) == (result[-1].group, result[-1].use):
            result[-1] = result[-1]._replace(layers=(*result[-1].layers, layer))
        else:
            result.append(Call(layer.group, layer.use, (layer,), tuple(call_of[s] for s in layer.sources)))
        call_of[index] = len(result) - 1
    return result


class _Lowering:
    """Appends layers one by one, each reading the one before it unless told otherwise; collects problems."""

    def __init__(self, architecture: Architecture) -> None:
        stem = architecture.input
        self.input_shape: Shape = (stem.channels, stem.height, stem.width)
        self.layers: list[Layer] = []
        self.problems: list[str] = []
        self._numbers = {"block": 0, "transition": 0, "pool": 0}
        self._collapsed = False

    @property
    def shape(self) -> Shape:
        return self.layers[-1].output_shape if self.layers else self.input_shape

    @property
    def last(self) -> int:
        return len(self.layers) - 1 if self.layers else IMAGE

    def block(self, block: Block, path: str) -> None:
        number = self._next("block")
        channels = self.shape[0]
        if block.padding == "same" and block.kernel % 2 == 0:
            self._problem(path + ".kernel", f"{block.kernel} is even; 'same' padding needs an odd kernel")
        if channels % block.groups or block.width % block.groups:
            self._problem(
                path + ".groups",
                f"{block.groups} groups need multiples of {block.groups} channels, and {channels} channels go in, "
                f"{block.width} out",
            )
        if block.repeat > 1 and block.width != channels:
            self._problem(
                path + ".repeat", f"shared weights need equal widths, and {channels} channels go in, {block.width} out"
            )
        if block.shortcut != "none" and block.padding == "valid" and block.kernel > 1:
            self._problem(path + ".shortcut", "a shortcut needs padding = 'same', so that the shapes agree")
        if block.shortcut == "identity" and (block.width != channels or block.stride != 1):
            self._problem(
                path + ".shortcut",
                f"identity needs equal shapes, and {channels} channels go in, {block.width} out with stride "
                f"{block.stride}; use 'projection'",
            )
        layers = layers_of_block(block, channels)
        if layers is None:
            unknown = problem_of_kind(block.kind)
            self._problem(*((f"{path}.kind", unknown) if unknown else (f"{path}.options", problem_of_options(block))))
            return
        is_shipped = block.kind in SHIPPED_KINDS
        if is_shipped and (block.layers or block.options):
            self._problem(path, f"layers and options belong to kinds of one's own, not to {block.kind!r}")
        problems = [] if is_shipped else list(problems_of_layers(layers, channels, block.width))
        for problem in problems:
            self._problem(f"{path}.layers", problem)
        if problems:
            return
        for use in range(block.repeat):
            self._block_use(block, layers, path, number, use)

    def _block_use(self, block: Block, layers: BlockLayers, path: str, number: int, use: int) -> None:
        entry, channels, norm_act = self.last, self.shape[0], block.norm_act
        group = self._block_layers(layers, path, number, use)
        if not layers.activates:
            norm_act = replace(norm_act, activation="none", order="norm_first")
        if block.shortcut == "none":
            self._norm_act(norm_act, block.width, group, f"tail{number}", use, path)
            return
        norm_first = norm_act.order == "norm_first"
        if norm_first:
            self._norm(norm_act.norm, block.width, group, use, path)
        main = self.last
        if block.shortcut == "projection":
            self._add(Conv2d(channels, block.width, 1, block.stride), f"shortcut{number}", use, path, (entry,))
            entry = self.last
        self._check_sum(f"{path}.shortcut", main, entry)
        self._add(Add(), "", use, path, (main, entry))
        rest = NormAct(
            False,
            "none",
            norm_act.activation,
            norm_act.order,
            norm_act.dropout,
            norm_act.dropout_kind,
            norm_act.functional,
        )
        if not norm_first:
            rest = norm_act
        self._norm_act(rest, block.width, f"tail{number}", f"tail{number}", use, path)

    def _block_layers(self, layers: BlockLayers, path: str, number: int, use: int) -> str:
        """Append the layers of a block up to its last norm; return the submodule that this norm belongs to.

        Layers that read nothing but the one before them are one submodule: 'convblock3'. Others begin a submodule of
        their own: 'convblock3_2'.
        """
        entry, start, count, group = self.last, len(self.layers), 0, ""
        all_reads = [source for layer in layers.layers for source in layer.sources]
        for index, (operation, reads) in enumerate((layer.operation, layer.sources) for layer in layers.layers):
            sources = tuple([entry if source < 0 else start + source for source in reads])
            if isinstance(operation, Add):
                group = ""
                self._check_sum(f"{path}.layers", *sources)
            elif not group or reads[0] != index - 1 or all_reads.count(index - 1) > 1:
                count += 1
                group = f"convblock{number}_{count}" if count > 1 else f"convblock{number}"
            self._add(operation, group, use, path, sources)
        return group or f"convblock{number}_{count + 1}"

    def _check_sum(self, path: str, *sources: int) -> None:
        shapes = [self._shape_of(source) for source in sources]
        if shapes[0] != shapes[1] and not self.problems:  # which may be why
            self._problem(path, f"a sum of maps of {' and '.join('x'.join(map(str, s)) for s in shapes)}, which differ")

    def transition(self, transition: Transition, path: str) -> None:
        number, norm_act = self._next("transition"), transition.norm_act
        group = f"transition{number}"
        self._add(Conv2d(self.shape[0], transition.width, 1, bias=norm_act.bias), group, 0, path)
        self._norm_act(norm_act, transition.width, group, f"{group}_tail", 0, path)

    def pool(self, pool: Pool, path: str) -> None:
        operation = MaxPool2d if pool.kind == "max" else AvgPool2d
        self._add(operation(pool.size, pool.stride or pool.size), f"pool{self._next('pool')}", 0, path)

    def head(self, head: Head, classes: int) -> None:
        path = "head"
        if head.kind != "conv_gap" and (head.kernel != 1 or head.padding != "valid"):
            self._problem(path + ".kernel", f"only conv_gap has a kernel and padding of its own, not {head.kind}")
        if head.kind == "conv_gap":
            if head.padding == "same" and head.kernel % 2 == 0:
                self._problem(path + ".kernel", f"{head.kernel} is even; 'same' padding needs an odd kernel")
            padding = head.kernel // 2 if head.padding == "same" else 0
            convolution = Conv2d(self.shape[0], classes, head.kernel, padding=padding, bias=head.bias)
            self._add(convolution, "classifier", 0, path)
            self._add(self._window_of_whole_map(), "gap", 0, path)
        elif head.kind == "gap_conv":
            self._add(self._window_of_whole_map(), "gap", 0, path)
            self._add(Conv2d(self.shape[0], classes, 1, bias=head.bias), "classifier", 0, path)
        elif head.kind == "gap_linear":
            self._add(AdaptiveAvgPool2d(), "gap", 0, path)
            self._add(Linear(self.shape[0], classes, head.bias), "fc", 0, path)
        else:
            channels, height, width = self.shape
            self._add(Linear(channels * height * width, classes, head.bias), "fc", 0, path)

    def _window_of_whole_map(self) -> Operation:
        # The reference documents pool the whole map with AvgPool2d ahead of or behind a convolution, and with
        # AdaptiveAvgPool2d ahead of a linear layer. AvgPool2d here has square windows only.
        _, height, width = self.shape
        return AvgPool2d(max(height, 1), max(height, 1)) if height == width else AdaptiveAvgPool2d()

    def _norm_act(self, norm_act: NormAct, width: int, group: str, tail: str, use: int, path: str) -> None:
        """Append norm, activation and dropout; what follows a functional activation goes to the submodule `tail`."""
        if norm_act.functional and norm_act.activation == "prelu":
            self._problem(path + ".norm_act.functional", "prelu has a weight and must be a layer")
        steps = ["norm", "activation"] if norm_act.order == "norm_first" else ["activation", "norm"]
        for step in steps:
            if step == "norm":
                self._norm(norm_act.norm, width, group, use, path)
            elif norm_act.activation != "none":
                self._add(
                    Activation(norm_act.activation, norm_act.functional),
                    "" if norm_act.functional else group,
                    use,
                    path,
                )
                group = tail if norm_act.functional else group
        if norm_act.dropout:
            dropout = Dropout(norm_act.dropout) if norm_act.dropout_kind == "element" else Dropout2d(norm_act.dropout)
            self._add(dropout, group, use, path)

    def _norm(self, norm: Norm, channels: int, group: str, use: int, path: str) -> None:
        if norm != "none":
            self._add(BatchNorm2d(channels, TRAINED[norm]), group, use, path)

    def _next(self, what: str) -> int:
        self._numbers[what] += 1
        return self._numbers[what]

    def _shape_of(self, source: int) -> Shape:
        return self.layers[source].output_shape if source != IMAGE else self.input_shape

    def _problem(self, path: str, text: str) -> None:
        self.problems.append(f"{path}: {text}")

    def _add(
        self, operation: Operation, group: str, use: int, path: str, sources: tuple[int, ...] | None = None
    ) -> None:
        if sources is None:
            sources = (self.last,)
        shape = self._shape_of(sources[0])
        output = operation.output_shape(shape)
        if min(output) < 1 and not self._collapsed:
            self._collapsed = True
            size = getattr(operation, "kernel", 0) or getattr(operation, "size", 0)
            self._problem(
                path,
                f"the map shrinks to nothing: {operation.kind} needs at least {size}x{size}, and the map is "
                f"{shape[1]}x{shape[2]} here; use padding = 'same', fewer pools or a larger input",
            )
        num_params = 0 if use else operation.num_params
        self.layers.append(Layer(operation, group, use, sources, shape, output, num_params, operation.num_macs(output)))
