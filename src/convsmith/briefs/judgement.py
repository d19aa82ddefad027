"""The judgement of one net: its verdicts, hints and remarks, for every form in which they are shown."""

from dataclasses import dataclass, field

from convsmith.briefs.checks import Check
from convsmith.briefs.hints import Hint
from convsmith.briefs.verdicts import Verdicts
from convsmith.errors import ConvsmithError
from convsmith.net.rows import Location
from convsmith.text import plural


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """What a brief says about one net, or about the nets of a hand-in together.

    Attributes:
        name: The net as the user wrote it.
        checks: The verdicts; empty if the net could not be judged.
        hints: Remarks on layers.
        totals: Parameters, receptive field and so on, in one line.
        remarks: What else to know, such as the accuracy of weights; one sentence each.
        definition: The line that defines the net; None if it is in no file.
        error: Why the net could not be judged; None if it was.
    """

    name: str
    checks: Verdicts = field(default_factory=Verdicts)
    hints: tuple[Hint, ...] = ()
    totals: str = ""
    remarks: tuple[str, ...] = ()
    definition: Location | None = None
    error: ConvsmithError | None = None

    @property
    def passed(self) -> bool:
        return not self.error and self.checks.passed

    @property
    def outcome(self) -> str:
        """The result in a few words.

        >>> failed = Check(title="parameters", verdict="fail", actual="12", required="at most 10")
        >>> Judgement(name="Net", checks=Verdicts([failed])).outcome
        '1 of 1 check failed'
        """
        if self.error:
            return "not judged"
        if not self.checks:
            return "nothing to check"
        count, total = len(self.checks.failed), plural(len(self.checks), "check")
        if count:
            return f"{count} of {total} failed"
        unknown = len(self.unknown)
        return f"{total} without a failure, {unknown} not applicable" if unknown else f"{total} passed"

    @property
    def unknown(self) -> tuple[Check, ...]:
        """The checks that are not applicable."""
        return tuple(each for each in self.checks if each.verdict == "not applicable")

    def place(self, location: Location | None) -> Location | None:
        """Return the line of a verdict; for one about the whole net that of its definition."""
        return location or self.definition
