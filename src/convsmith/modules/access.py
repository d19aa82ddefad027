"""Whether code that a run or a bundle holds may be run."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from convsmith.errors import UntrustedCodeError

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, kw_only=True)
class CodeAccess:
    """What a user allows for a run or bundle that holds the code of its net.

    Attributes:
        trust: Whether its code may be run. Code in a file is code: it can do what the user can do.
        module: An instance of the net, to use instead of the code.
    """

    trust: bool = False
    module: "nn.Module | None" = None

    def check(self, where: str) -> None:
        """Raise UntrustedCodeError if the code in a place may not be run."""
        if not self.trust and self.module is None:
            raise UntrustedCodeError(
                "its net is a module, whose code would be run, and code can do whatever you can do",
                where=where,
                fix="read the code, then allow it: --trust-code, in Python trust_code=True",
            )


NO_CODE = CodeAccess()
