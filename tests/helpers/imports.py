"""Which modules some code loads."""

import subprocess
import sys


def loaded(code: str, module: str) -> bool:
    """Whether a module is loaded after running code in a fresh interpreter."""
    probe = f"{code}\nimport sys\nsys.exit(10 if {module!r} in sys.modules else 11)"
    code_of = subprocess.run(
        [sys.executable, "-c", probe],
        check=False,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ).returncode
    assert code_of in {10, 11}
    return code_of == 10
