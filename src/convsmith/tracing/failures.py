"""The error for a forward pass that fails while it is traced: where, and what helps."""

from collections.abc import Callable, Sequence

from torch._subclasses.fake_tensor import DataDependentOutputException, DynamicOutputShapeException

from convsmith.errors import ModuleError
from convsmith.net.rows import Row, Shape
from convsmith.tracing.frames import Frame


def forward_error(
    error: Exception,
    title: str,
    *,
    frame: Frame | None,
    path: str,
    rows: Sequence[Row],
    fix: Callable[[str], str],
) -> ModuleError:
    """Return the error for a forward pass that failed.

    Args:
        error: What it raised.
        title: The class of the net.
        frame: The module that was running.
        path: Its path in the net.
        rows: The operations that ran before.
        fix: Returns what helps, for the first line of the error's message.
    """
    where = f"{title}.{path} ({type(frame.module).__name__})" if frame and path else title
    shapes = [tuple(tensor.shape[1:]) for tensor in frame.inputs] if frame else []
    inputs = f"its input is {_shapes(shapes)} for one image; " if shapes else ""
    context = f"{inputs}{len(rows)} operations ran before it"
    if rows:
        context += f", the last was {rows[-1].name} with output {_shapes([rows[-1].out_shape])}"
    if isinstance(error, (DataDependentOutputException, DynamicOutputShapeException)):
        what = "branches on the values of the image"
        if isinstance(error, DynamicOutputShapeException):
            what = "has a tensor whose size depends on the values of the image, as after picking by a mask"
        return ModuleError(
            f"the forward pass {what}",
            where=where,
            context=context,
            fix="only shapes are traced: branch on shapes or settings, or pass a part without the branch",
        )
    message = str(error).strip().splitlines() or [""]
    return ModuleError(
        f"the forward pass fails: {type(error).__name__}: {message[0][:200]}",
        where=where,
        context=context,
        fix=fix(message[0]),
    )


def _shapes(shapes: Sequence[Shape]) -> str:
    return ", ".join("x".join(map(str, shape)) or "one value" for shape in shapes)
