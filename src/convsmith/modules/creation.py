"""Create a user's module for images of a size."""

from torch import nn

from convsmith.modules.loaded import LoadedModule
from convsmith.modules.precision import use_single_precision
from convsmith.tracing.arguments import Arguments
from convsmith.tracing.isolation import initialize_lazy_layers
from convsmith.tracing.members import first_weight


def create_for(loaded: LoadedModule, image_shape: tuple[int, int, int]) -> nn.Module:
    """Return a new module on the CPU, in single precision, its lazy layers initialised for `(C, H, W)`.

    Raises:
        ModuleError: The constructor fails.
    """
    module = loaded.create()
    initialize_lazy_layers(module, Arguments.of(image_shape, (), None, first_weight(module).dtype))
    use_single_precision(module)
    return module
