"""Markers of tests that need a kind of machine."""

import pytest

from convsmith.system.device import cpu_has_bf16

# Without bf16 instructions a bf16 product is about a hundred times slower than one in fp32.
needs_bf16 = pytest.mark.skipif(not cpu_has_bf16(), reason="bf16 is emulated on this CPU")
