"""A net without weights, whatever defines it: the notation, or a PyTorch module."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from convsmith.errors import ModuleError
from convsmith.modules.behaviour import PLAIN, Behaviour, guard_of
from convsmith.modules.config import ModuleConfig
from convsmith.modules.reference import parse_reference
from convsmith.net.analysis import Analysis
from convsmith.net.arithmetic import SpecAnalysis, analyze_notation
from convsmith.net.settings import NotationConfig

if TYPE_CHECKING:
    import torch
    from torch import nn

    from convsmith.modules.loaded import LoadedModule
    from convsmith.modules.probe import Probe
    from convsmith.modules.sources import SourceFiles

ImageShape = tuple[int, int, int]
LoadWeights = Callable[["nn.Module"], object]
# The folder with the code of a module, in a run folder and in a bundle.
SOURCE = "source"
_CHANNELS_FIRST = (
    "its `view` needs the channels first in memory, which takes up to half again as long as last; "
    "`x.flatten(1)` and `x.reshape(...)` take both"
)


class Architecture(ABC):
    """A net without weights, for images of any size that it accepts.

    Attributes:
        config: The `[model]` table of the recipe.
        text: The net in the notation, or the module with its arguments, its file in its own folder.
        sources: The files of a module; None for notation, and for installed packages.
        behaviour: What the net needs in training.
        notes: What a user should know about the net, one sentence each.
    """

    config: NotationConfig | ModuleConfig
    text: str
    behaviour: Behaviour = PLAIN
    notes: tuple[str, ...] = ()

    @abstractmethod
    def analyze(self, image_shape: ImageShape) -> Analysis:
        """Analyze the net on images `(C, H, W)`.

        Raises:
            ShapeError: The layers of a net in the notation do not fit the images.
            ModuleError: The module cannot be created, or fails on such images.
        """

    @abstractmethod
    def build(self, image_shape: ImageShape, generator: "torch.Generator | None" = None) -> "nn.Module":
        """Return a new net on the CPU, from images `(N, C, H, W)` to logits `(N, num_classes)`.

        Args:
            image_shape: `(C, H, W)`.
            generator: Draws the initial weights; by default PyTorch's global generator.
        """

    @property
    def sources(self) -> "SourceFiles | None":
        return None

    @abstractmethod
    def identity(self) -> dict[str, Any]:
        """Return what determines the outputs besides weights and images, as plain values."""

    def check_constructor(self) -> None:  # noqa: B027 - the notation has none
        """Create the net once, before data is read for it, which can take minutes.

        Raises:
            ModuleError: The module cannot be created.
        """

    def probe(
        self,
        image_shape: ImageShape,  # noqa: ARG002 - a module needs these
        num_classes: int,  # noqa: ARG002
        load_weights: "LoadWeights | None" = None,  # noqa: ARG002
    ) -> "Architecture":
        """Return the architecture with what a few passes show: the meaning of its outputs, and notes.

        Args:
            image_shape: `(C, H, W)`.
            num_classes: Of the data.
            load_weights: Loads the weights of a net that is not to be trained; None for one that is.

        Raises:
            ModuleError: The module cannot be used as a classifier of such images.
        """
        return self

    def check(self, image_shape: ImageShape, num_classes: int) -> None:  # noqa: B027 - notation always does
        """Check that the net classifies such images, by a forward pass of a module in evaluation mode.

        Raises:
            ModuleError: The module does not.
        """

    @property
    def recorded_config(self) -> NotationConfig | ModuleConfig:
        """The `[model]` table as a run folder or a bundle holds it, with the code in `SOURCE`."""
        return self.config


class NotationArchitecture(Architecture):
    """A net in the notation, with its settings."""

    config: NotationConfig

    def __init__(self, config: NotationConfig) -> None:
        self.config, self.text = config, config.net

    def analyze(self, image_shape: ImageShape) -> SpecAnalysis:
        return analyze_notation(self.config.net, image_shape, self.config)

    def build(self, image_shape: ImageShape, generator: "torch.Generator | None" = None) -> "nn.Module":
        from convsmith.net.module import build

        return build(self.analyze(image_shape).plan, generator=generator)

    def identity(self) -> dict[str, Any]:
        return self.config.model_dump(mode="json")


class ModuleArchitecture(Architecture):
    """A module of the user's own, or of an installed package."""

    config: ModuleConfig

    def __init__(self, config: ModuleConfig, loaded: "LoadedModule", probe: "Probe | None" = None) -> None:
        self.config, self.loaded = config, loaded
        # A report names no folders of this machine.
        self.text, self.notes = str(loaded.local_reference), loaded.notes
        # By the shape of the images.
        self._channels_first: dict[ImageShape, bool] = {}
        in_order = False
        if probe is not None:
            in_order, self.notes = probe.in_order, (*loaded.notes, *probe.notes)
        self.behaviour = Behaviour(in_order=in_order, guard=guard_of(str(loaded.reference), self._locate))

    @property
    def sources(self) -> "SourceFiles | None":
        # A constructor or a forward pass may import more files: complete after `probe` or `analyze`.
        return self.loaded.sources

    def check_constructor(self) -> None:
        from convsmith.tracing.isolation import preserved_state

        with preserved_state():
            self.loaded.create()

    def create(self, image_shape: ImageShape) -> "nn.Module":
        """Return the module as its class makes it, lazy layers initialised, in single precision."""
        from convsmith.modules.creation import create_for

        return create_for(self.loaded, image_shape)

    def _locate(self, frame: FrameType, line: int) -> str:
        from convsmith.modules.passes import line_of

        return self.loaded.locate(frame, line) or line_of(frame, line)

    def analyze(self, image_shape: ImageShape) -> Analysis:
        from convsmith.tracing.isolation import preserved_state
        from convsmith.tracing.trace import trace

        with preserved_state():
            module = self.create(image_shape)
            try:
                return trace(module, image_shape, places=self.loaded.places)
            except ModuleError as error:
                raise self.loaded.explained(error) from error

    def build(self, image_shape: ImageShape, generator: "torch.Generator | None" = None) -> "nn.Module":
        from convsmith.modules.outputs import use_logarithm
        from convsmith.net.module import seeded
        from convsmith.system.memory_format import use_channels_first

        with seeded(generator):
            module = self.create(image_shape)
        if self._needs_channels_first(module, image_shape):
            use_channels_first(module)
        if self.config.outputs == "probabilities":
            use_logarithm(module)
        return module

    def needs_channels_first(self, image_shape: ImageShape) -> bool:
        """Whether the net fails on images `(C, H, W)` whose channels are last in memory."""
        return self._needs_channels_first(self.create(image_shape), image_shape)

    def _needs_channels_first(self, module: "nn.Module", image_shape: ImageShape) -> bool:
        from convsmith.modules.limits import limited
        from convsmith.modules.memory_format import needs_channels_first

        if image_shape not in self._channels_first:
            with limited("a pass of the net", str(self.loaded.reference), self._locate):
                self._channels_first[image_shape] = needs_channels_first(module, image_shape)
        return self._channels_first[image_shape]

    def probe(
        self, image_shape: ImageShape, num_classes: int, load_weights: LoadWeights | None = None
    ) -> "ModuleArchitecture":
        from convsmith.modules.precision import precision_notes
        from convsmith.modules.probe import probe_classifier
        from convsmith.tracing.isolation import preserved_state

        with preserved_state():
            notes = precision_notes(self.loaded.create())
            module = self.create(image_shape)
        if load_weights is not None:
            load_weights(module)
        try:
            probe = probe_classifier(
                module,
                image_shape,
                num_classes,
                where=str(self.loaded.reference),
                outputs=self.config.outputs,
                loaded=self.loaded,
                trains=load_weights is None,
            )
        except ModuleError as error:
            raise self.loaded.explained(error) from error
        notes += probe.notes
        if self._needs_channels_first(module, image_shape):
            notes += (_CHANNELS_FIRST,)
        config = self.config.model_copy(update={"outputs": probe.outputs})
        architecture = ModuleArchitecture(config, self.loaded, replace(probe, notes=notes))
        architecture._channels_first = self._channels_first
        return architecture

    def check(self, image_shape: ImageShape, num_classes: int) -> None:
        from convsmith.modules.probe import check_classifier
        from convsmith.tracing.isolation import preserved_state

        with preserved_state():
            module = self.create(image_shape)
        outputs, loaded = self.config.outputs, self.loaded
        try:
            check_classifier(
                module, image_shape, num_classes, where=self.text, outputs=outputs, loaded=loaded
            )
        except ModuleError as error:
            raise self.loaded.explained(error) from error

    def identity(self) -> dict[str, Any]:
        if self.sources is None:
            return {**self.config.model_dump(mode="json"), "package": self.loaded.package}
        module = str(self.loaded.local_reference)
        return {"module": module, "outputs": self.config.outputs, "source": self.sources.hashes}

    @property
    def recorded_config(self) -> ModuleConfig:
        if self.sources is None:
            return self.config
        return self.config.model_copy(update={"module": f"{SOURCE}/{self.loaded.local_reference}"})


def architecture_of(
    config: NotationConfig | ModuleConfig,
    module: "nn.Module | None" = None,
    *,
    root: Path | None = None,
) -> NotationArchitecture | ModuleArchitecture:
    """Return the architecture of a `[model]` table.

    Args:
        config: The table.
        module: An instance, in place of one that the code makes.
        root: The folder of the module's files, if it is not the working directory.

    Raises:
        ModuleError: The module cannot be loaded.

    Example:
        >>> architecture = architecture_of(NotationConfig(net="C8 / G F10"))
        >>> architecture.text, architecture.analyze((1, 8, 8)).parameters
        ('C8 / G F10', 178)
    """
    if isinstance(config, NotationConfig):
        return NotationArchitecture(config)
    from convsmith.modules.instance import loaded_instance
    from convsmith.modules.load import load_module

    loaded = load_module(config.module, root=root) if module is None else loaded_instance(module)
    return ModuleArchitecture(config, loaded)


def architecture_in(
    folder: Path, config: ModuleConfig, module: "nn.Module | None" = None
) -> NotationArchitecture | ModuleArchitecture:
    """Return the architecture of a module whose files are in `SOURCE` of a folder; no other files are read.

    Args:
        folder: A run folder or a bundle.
        config: Its module: a file in `SOURCE`, or an installed package.
        module: An instance, in place of one that the code makes.

    Raises:
        ModuleError: Its file is elsewhere, or the module cannot be loaded.
    """
    # The class of an instance may have no name that a command could load.
    if module is not None:
        return architecture_of(config, module)
    reference = parse_reference(config.module)
    if not reference.is_file:
        return architecture_of(config)
    source = folder / SOURCE
    for prefix in (f"{source}/", f"{SOURCE}/"):
        if config.module.startswith(prefix):
            local = config.model_copy(update={"module": config.module.removeprefix(prefix)})
            return architecture_of(local, root=source)
    raise ModuleError(
        f"its file is not in {SOURCE}/, where the code of the net is kept",
        where=f"{folder}: {reference.place}",
        fix="restore the folder as it was written",
    )
