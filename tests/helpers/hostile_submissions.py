"""Hostile submissions: a good net whose constructor attacks the machine of the teacher.

Each attack is bounded: it ends by itself within a minute, and is tried on a machine only inside the sandbox.
`{port}` is a port that listens on the loopback address, `{place}` the folder of the class, `{home}` a folder
of the teacher.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

# A minute, less what is needed to start.
SECONDS = 50
NET = """
import torch
import torch.nn as nn
import torch.nn.functional as F
{top}

def attack():
{attack}

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        attack()
        self.convblock1 = nn.Sequential(
            nn.Conv2d(1, 12, 3, padding=1, bias=False), nn.BatchNorm2d(12), nn.ReLU(), nn.Dropout(0.05))
        self.convblock2 = nn.Sequential(
            nn.Conv2d(12, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(), nn.Dropout(0.05))
        self.head = nn.Conv2d(16, {classes}, 1)

    def forward(self, x):
        x = self.head(self.convblock2(self.convblock1(x)))
        return F.log_softmax(x.mean((2, 3)), dim=1)
"""


@dataclass(frozen=True, kw_only=True)
class Attack:
    """A hostile submission and the row that a teacher expects.

    Attributes:
        name: Of the submission.
        code: Lines of the function `attack`, which the constructor of the net calls.
        top: Lines at the top of the file.
        results: The results that are right: what is attacked differs between systems.
        why: Texts of which the row must have one.
        never: Texts that the row must not have.
        prepare: Changes the folder of the submission further.
        fast: Whether it ends within seconds.
    """

    name: str
    code: str = "pass"
    top: str = ""
    results: tuple[str, ...] = ("not judged",)
    why: tuple[str, ...] = ("",)
    never: tuple[str, ...] = ()
    prepare: Callable[[Path], None] | None = None
    fast: bool = False

    def write(self, place: Path, home: Path, port: int, classes: int = 10) -> Path:
        """Write the submission into the folder of a class."""
        folder = place / self.name
        folder.mkdir(parents=True)
        code = "\n".join(f"    {line}" for line in self.code.strip().splitlines())
        text = NET.format(top=self.top, attack=code, classes=classes)
        for name, value in (("PORT", port), ("PLACE", place), ("HOME", home), ("SECONDS", SECONDS)):
            text = text.replace(f"@{name}@", str(value))
        (folder / "model.py").write_text(text, encoding="utf-8")
        if self.prepare:
            self.prepare(folder)
        return folder


def _links(folder: Path) -> None:
    import os

    (folder / "weights.pth").symlink_to("/etc/passwd")
    (folder / "all").symlink_to("/")
    (folder / "sibling").symlink_to("../reads another")
    os.mkfifo(folder / "pipe.py")


def _large(folder: Path) -> None:
    # Sparse: ten gigabytes for a reader, nothing on the disk.
    with (folder / "net.pth").open("wb") as file:
        file.truncate(10 * 2**30)


def _pickle(folder: Path) -> None:
    """Write weights that run a command when they are unpickled, and others that are nested deeply."""
    command = "touch @HOME@/pickled"
    text = b"cposix\nsystem\n(S'" + command.encode() + b"'\ntR."
    (folder / "net.pth").write_bytes(text)
    (folder / "deep.pth").write_bytes(b"\x80\x04" + b"(" * 200_000 + b"t" * 200_000 + b".")


JUDGED = ("pass", "open", "fail")
FORGED = '{"submission": "forges a record", "state": "judged", "steps": [], "outcome": "ok", "seal": ""}'
ATTACKS = (
    Attack(
        name="loops",
        code="import time\nend = time.time() + @SECONDS@\nwhile time.time() < end: pass",
        why=("stopped after ",),
    ),
    Attack(
        name="loops and catches signals",
        code="import signal, time\n"
        "for number in (signal.SIGTERM, signal.SIGINT, signal.SIGALRM, signal.SIGXCPU):\n"
        "    signal.signal(number, lambda *_: None)\n"
        "end = time.time() + @SECONDS@\nwhile time.time() < end:\n"
        "    try:\n        while time.time() < end: pass\n    except BaseException: pass",
        why=("stopped after ",),
    ),
    Attack(
        name="stops itself",
        code="import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)",
        why=("stopped after ",),
    ),
    Attack(
        name="processes",
        code="import os, time\n"
        "for _ in range(200):\n    if os.fork() == 0:\n        time.sleep(@SECONDS@); os._exit(0)\n"
        "time.sleep(@SECONDS@)",
        results=("fail", "not judged"),
        why=("processes; 64 are allowed", "Resource temporarily unavailable"),
    ),
    Attack(
        name="a file of 1 GB",
        code="with open('large', 'wb') as file:\n    for _ in range(64): file.write(bytes(2**24))",
        results=("fail", "not judged"),
        why=("File too large", "No space left", "wrote more than", "a file of more than"),
    ),
    Attack(
        name="thousands of files",
        code="for number in range(60_000): open(f'file{number}', 'w').close()",
        results=("fail", "not judged"),
        why=("No space left", "wrote more than"),
    ),
    Attack(
        name="prints 1 GB",
        code="import os\nline = b'x' * 2**20\nfor _ in range(1000): os.write(1, line)",
        results=("fail", "not judged"),
        why=("stopped after printing", "Broken pipe"),
    ),
    Attack(
        name="asks for 30 GB",
        code="block = torch.ones(30 * 2**28)",
        results=("fail", "not judged"),
        why=("memory", "allocate"),
    ),
    Attack(
        name="grows to 30 GB",
        code="blocks = []\nfor _ in range(120): blocks.append(bytearray(2**28))",
        results=("fail", "not judged"),
        why=("memory", "Memory"),
    ),
    Attack(
        name="exits",
        code="import os\nos._exit(0)",
        why=("ended before it was judged, with exit code 0",),
    ),
    Attack(
        name="deletes its folder",
        code="import os, shutil\n"
        "shutil.rmtree(os.path.dirname(os.path.abspath(__file__)), ignore_errors=True)\n"
        "shutil.rmtree(os.environ['HOME'], ignore_errors=True)",
        results=(*JUDGED, "not judged"),
    ),
    Attack(
        name="reads another",
        code="import glob\n"
        "patterns = '../*/model.py', '@PLACE@/*/secret.txt', '/tmp/**/secret.txt', '@HOME@/secret.txt'\n"
        "for pattern in patterns:\n"
        "    for path in glob.glob(pattern, recursive=True):\n"
        "        if 'secret' in path: raise RuntimeError(open(path).read())",
        results=JUDGED,
        never=("the secret of another",),
    ),
    Attack(
        name="writes into another",
        code="import glob, os\n"
        "paths = '@PLACE@/reads another/model.py', '@PLACE@/loops', '@HOME@/.bashrc', '/usr/lib/x.py'\n"
        "for path in paths:\n"
        "    try: open(path, 'a').write('# changed')\n    except OSError: pass\n"
        "    try: os.remove(path)\n    except OSError: pass",
        results=JUDGED,
    ),
    Attack(
        name="connects to a port",
        code="import socket\n"
        "for host in ('127.0.0.1', 'localhost', '::1', '0.0.0.0'):\n"
        "    try: socket.create_connection((host, @PORT@), 2).send(b'answers')\n    except OSError: pass",
        results=JUDGED,
        fast=True,
    ),
    Attack(
        name="imports what is missing",
        top="import no_such_package_anywhere\nfrom torchsummary_missing import summary\n"
        "import tqdm_missing as t",
        results=JUDGED,
    ),
    Attack(
        name="downloads at import",
        top="import urllib.request\n"
        "urllib.request.urlretrieve('http://127.0.0.1:@PORT@/data.tar.gz', 'data.tar.gz')\n"
        "data = urllib.request.urlopen('http://127.0.0.1:@PORT@/')",
        results=JUDGED,
    ),
    Attack(
        name="leaves a daemon",
        code="import os, time\n"
        "if os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0:\n"
        "        for number in range(3, 200):\n"
        "            try: os.close(number)\n            except OSError: pass\n"
        "        time.sleep(@SECONDS@)\n    os._exit(0)",
        results=JUDGED,
    ),
    Attack(
        name="forges a record",
        code="import os\n"
        f"open(os.environ['HOME'] + '/record/RECORD.json', 'w').write({FORGED!r})\nos._exit(0)",
        why=("wrote a record of its own",),
        fast=True,
    ),
    Attack(
        name="changes the record afterwards",
        code="import atexit, glob, os, threading, time\n"
        "def change():\n"
        "    for _ in range(400):\n"
        "        for path in glob.glob(os.environ['HOME'] + '/record/*.json'):\n"
        "            text = open(path).read().replace('\"fail\"', '\"pass\"')\n"
        "            open(path, 'w').write(text)\n"
        "        time.sleep(0.1)\n"
        "atexit.register(change)\n"
        "if os.fork() == 0:\n    change(); os._exit(0)",
        results=JUDGED,
    ),
    Attack(
        name="patches convsmith",
        code="import sys\n"
        "for name, module in list(sys.modules.items()):\n"
        "    if name.startswith('convsmith.') and hasattr(module, 'judge'): module.judge = lambda *_: ()",
        why=("changed the program that judges it: convsmith.",),
    ),
    Attack(
        name="traces",
        code="import sys\nsys.settrace(lambda *_: None)",
        why=("changed the program that judges it: sys.settrace",),
    ),
    Attack(
        name="signals its parent",
        code="import os, signal\n"
        "for process in (os.getppid(), 1):\n"
        "    for number in (signal.SIGTERM, signal.SIGKILL, signal.SIGSTOP):\n"
        "        try: os.kill(process, number)\n        except OSError: pass",
        results=(*JUDGED, "not judged"),
        fast=True,
    ),
    Attack(
        name="recurses",
        code="import sys\nsys.setrecursionlimit(10**9)\n"
        "class Deep:\n    def __repr__(self): return repr(self)\nrepr(Deep())",
        results=("fail", "not judged"),
        why=("SIGSEGV", "RecursionError", "recursion"),
    ),
    Attack(name="pickles", prepare=_pickle, results=JUDGED),
    Attack(name="links", prepare=_links, results=JUDGED),
    Attack(name="10 GB", prepare=_large, results=JUDGED),
)
