"""What a net needs in training besides images: an order of its passes, and the place of its errors."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

from convsmith.errors import ConvsmithError, ModuleError
from convsmith.modules.limits import Locate, raising_place

Guard = Callable[[str], AbstractContextManager[None]]


def no_guard(activity: str) -> AbstractContextManager[None]:
    """Return a context without effect."""
    del activity
    return nullcontext()


@dataclass(frozen=True, kw_only=True)
class Behaviour:
    """What a net needs in training.

    Attributes:
        in_order: Whether its microbatches run one after the other, each with its own seed: the net draws
            from a global generator, other than by `nn.Dropout`, or writes into its parameters.
        guard: Returns a context for a pass of the net, named by its argument, whose exceptions become
            errors that name the user's line.
    """

    in_order: bool = False
    guard: Guard = no_guard


# Of a net in the notation.
PLAIN = Behaviour()


def guard_of(where: str, locate: Locate) -> Guard:
    """Return the guard of a module.

    Args:
        where: The module, for messages.
        locate: Returns the place of a frame in the user's files.

    Example:
        >>> guard = guard_of("net.py:Net", lambda frame, line: "")
        >>> with guard("the backward pass"):
        ...     raise ValueError("wrong size")
        Traceback (most recent call last):
        convsmith.errors.ModuleError: error[E022]: net.py:Net: the backward pass fails: ValueError: wrong size
        ...
    """

    @contextmanager
    def guard(activity: str) -> Iterator[None]:
        # Nets in the notation are analyzed without PyTorch.
        from convsmith.system.memory import is_out_of_memory

        try:
            yield
        except ConvsmithError:
            raise
        except Exception as error:
            if is_out_of_memory(error) or type(error).__module__.startswith(_COMPILER):
                raise
            raise ModuleError(
                f"{activity} fails: {type(error).__name__}: {first_line(error)}",
                where=raising_place(error, locate) or where,
                fix=fix_of(error),
            ) from error

    return guard


# The errors of `torch.compile`, which have another remedy.
_COMPILER = ("torch._dynamo", "torch._inductor")


def first_line(error: BaseException) -> str:
    """Return the first line of an exception's text, shortened."""
    return next(iter(str(error).splitlines()), "")[:300]


def fix_of(error: BaseException) -> str:
    """Return what usually helps against an exception of PyTorch."""
    text = str(error)
    if "inplace operation" in text:
        return "write x = x + y instead of x += y, and leave out inplace=True"
    if "use_reentrant" in text:
        return "write torch.utils.checkpoint.checkpoint(..., use_reentrant=False)"
    if "does not require grad" in text:
        return "leave out torch.no_grad(), .detach(), .data and NumPy in forward"
    if "invalid for input of size" in text or "size of tensor" in text:
        return "take the size of the batch from the images: x.view(x.size(0), -1), or x.flatten(1)"
    return "check it in Python: net.train(), then a forward and a backward pass"
