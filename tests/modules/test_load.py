"""Modules from files, notebooks and packages."""

import inspect
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from torch import nn

from convsmith.errors import FileError, ModuleError
from convsmith.modules import limits
from convsmith.modules.load import load_module
from convsmith.modules.sources import SourceFiles
from convsmith.tracing.trace import trace
from helpers.notebooks import write_notebook

IMAGE = (3, 32, 32)

MODEL = """
from torch import nn
from helper import WIDTH

class Net(nn.Sequential):
    def __init__(self, classes, width=WIDTH):
        super().__init__(nn.Conv2d(3, width, 3), nn.Flatten(), nn.LazyLinear(classes))

class Broken(nn.Module):
    def __init__(self):
        raise ValueError("no")

class Pair(nn.Module):
    def __init__(self, block, *, width=3):
        super().__init__()
        self.block = block(width)

def pair():
    return Pair(nn.ReLU)

def number_of():
    return 3

net = nn.Conv2d(3, 4, 1)
number = 3
"""


def write(folder: Path, files: Mapping[str, str]) -> None:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def count(net: nn.Module) -> int:
    return sum(each.numel() for each in net.parameters())


def problem(text: str) -> tuple[str, str, str, str]:
    with pytest.raises(ModuleError) as caught:
        load_module(text).create()
    (found,) = caught.value.problems
    return found.what, found.where, found.context, found.fix


@pytest.fixture
def model(tmp_path: Path) -> Path:
    write(tmp_path, {"helper.py": "WIDTH = 5\n", "model.py": MODEL})
    return tmp_path / "model.py"


def test_modules_from_a_file(model: Path) -> None:
    assert trace(load_module(f"{model}:Net(7)").create(), IMAGE).num_outputs == 7
    loaded = load_module(f"{model}:Net(classes=2, width=3)")
    assert trace(loaded.create(), IMAGE).rows[0].width == (3, 3)
    assert loaded.sources == SourceFiles(
        "model.py", {"model.py": MODEL.encode(), "helper.py": b"WIDTH = 5\n"}
    )
    assert str(loaded.local_reference) == "model.py:Net(classes=2, width=3)"
    assert (loaded.package, loaded.notes, loaded.left_out) == ("", (), ())


def test_each_net_has_its_own_weights(model: Path) -> None:
    loaded = load_module(f"{model}:Net(7)")
    torch.manual_seed(1)
    first, second = loaded.create(), loaded.create()
    torch.manual_seed(1)
    again = loaded.create()
    weights = [next(net.parameters()) for net in (first, second, again)]
    assert torch.equal(weights[0], weights[2])
    assert not torch.equal(weights[0], weights[1])
    # A module in a file is copied: its weights are as it was made.
    net = load_module(f"{model}:net")
    one, two = net.create(), net.create()
    assert one is not two
    assert isinstance(one, nn.Conv2d)
    assert isinstance(two, nn.Conv2d)
    assert torch.equal(one.weight, two.weight)


def test_loading_leaves_the_random_state_alone(tmp_path: Path) -> None:
    write(tmp_path, {"model.py": "import torch\ntorch.manual_seed(1)\nnet = torch.nn.Linear(2, 3)\n"})
    before = torch.get_rng_state()
    load_module(f"{tmp_path}/model.py:net")
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("name", "what", "fix"),
    [
        ("Nets", "no class 'Nets' in this file", "did you mean 'Net'?"),
        (
            "Net",
            "cannot be created with these arguments: missing a required argument: 'classes'",
            "model.py:Net(classes=10)'",
        ),
        ("Net(1, 2, 3)", "too many positional arguments", "Net(classes=10)"),
        ("Net(7, depth=3)", "got an unexpected keyword argument 'depth'", "Net(classes=10)"),
        ("Pair", "Pair(block, *, width=3) cannot be created", "model.py:pair"),
        ("Broken", "the constructor of Broken fails: ValueError: no", "check its arguments"),
        ("number", "number is a int, expected a class or function", "choose from 'Broken', 'Net', 'Pair'"),
        ("number_of", "number_of returns a int, expected a torch.nn.Module", "choose from"),
        ("net(3)", "net is a module already, it takes no arguments", "model.py:net"),
        ("Net#2(7)", "found 1 definitions of Net, expected at least 2", "write Net"),
        ("Net.small", "no class 'Net.small' in this file", "choose from"),
    ],
)
def test_modules_that_cannot_be_created(model: Path, name: str, what: str, fix: str) -> None:
    found = problem(f"{model}:{name}")
    assert what in found[0]
    assert fix in found[3]


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
@pytest.mark.parametrize("call", [".cuda()", ".to('cuda')", ".to(torch.device('cuda:0'))"])
def test_a_net_that_moves_itself_to_a_gpu(tmp_path: Path, call: str) -> None:
    code = f"import torch\n\ndef net():\n    return torch.nn.Linear(2, 3){call}\n"
    write(tmp_path, {"model.py": code})
    found = problem(f"{tmp_path}/model.py:net")
    assert found[3].startswith("create it on the CPU, without .cuda() and .to(...)")
    assert found[1].endswith("model.py, line 4")


def test_the_line_of_a_constructor_that_fails(model: Path) -> None:
    assert problem(f"{model}:Broken")[1] == f"{model}, line 11"


def test_files_that_cannot_be_run(tmp_path: Path) -> None:
    broken = tmp_path / "broken.py"
    for text, line in (
        ("x = 1\ny = x / 0\n", 2),
        ("def f(:\n", 1),
        ("def f():\n    return 1 / 0\n@f()\ndef g():\n    pass\n", 2),
    ):
        broken.write_text(text)
        with pytest.raises(ModuleError) as caught:
            load_module(f"{broken}:Net")
        assert caught.value.problems[0].where == f"{broken}, line {line}"


def test_places_that_are_no_files(tmp_path: Path) -> None:
    (tmp_path / "model.py").touch()
    (tmp_path / "S7.ipynb").touch()
    (tmp_path / "folder.py").mkdir()
    for name, what, fix in (
        ("xyz.py:Net", "no such file", "choose from 'S7.ipynb', 'folder.py', 'model.py'"),
        ("modle.py:Net", "no such file", "did you mean 'model.py'?"),
        ("S7.py:Net", "no such file", "S7.ipynb:Net"),
        ("folder.py:Net", "this is a folder, expected a file", "model.py:Net"),
        ("nowhere/model.py", "no such file", "model.py:Net"),
    ):
        with pytest.raises(FileError) as caught:
            load_module(f"{tmp_path}/{name}")
        assert caught.value.problems[0].what == what
        assert fix in caught.value.problems[0].fix


NOTEBOOK = [
    """
!pip install torchsummary
import torch
import torch.nn as nn
from torchvision_2 import datasets
from torchsummary_2 import summary
""",
    """classes = 10
size = open('size.txt').read()
data = datasets.MNIST('.', download=True)
""",
    """class Net(nn.Module):
    def __init__(self):
        super(Net, self).__init__()
        self.fc = nn.Linear(4, classes)
""",
    """model = Net()
summary(model, (1, 28, 28))
raise SystemExit
""",
    """class Net(nn.Module):
    def __init__(self, width=2):
        super(Net, self).__init__()
        self.fc = nn.Linear(width, classes)

class Sized(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(int(size), 10)

class Data(datasets.MNIST):
    pass

class Late(Data):
    pass
""",
]


def test_a_notebook(tmp_path: Path) -> None:
    path = write_notebook(tmp_path / "S7.ipynb", *NOTEBOOK)
    loaded = load_module(f"{path}:Net")
    assert count(loaded.create()) == 30
    # The first of two classes, whose constructor names the class, is built as it was.
    assert count(load_module(f"{path}:Net#1").create()) == 50
    assert count(load_module(f"{path}:Net#2(width=5)").create()) == 60
    assert count(load_module(f"{path}:model").create()) == 50
    left_out, twice = loaded.notes
    assert left_out.startswith(f"only imports, definitions and constants of {path} are run; left out: 6 stat")
    assert left_out.endswith("the first in cell 2, line 2: size = open('size.txt').read()")
    assert twice == f"{path} defines Net 2 times; this is the last, Net#1 is the first"
    assert len(loaded.left_out) == 6
    assert loaded.sources is not None
    assert loaded.sources.files == {"S7.ipynb": path.read_bytes()}


def test_what_is_missing_in_a_notebook(tmp_path: Path) -> None:
    path = write_notebook(tmp_path / "S7.ipynb", *NOTEBOOK)
    what, where, context, fix = problem(f"{path}:Sized")
    assert what == "the constructor of Sized fails: NameError: name 'size' is not defined"
    assert where == f"{path}, cell 5, line 9"
    assert context == f"{path}, cell 2, line 2, was left out: size = open('size.txt').read() (not run)"
    assert "define size by a constant" in fix
    what, where, context, fix = problem(f"{path}:Data")
    assert (
        what
        == "Data was left out: torchvision_2.datasets.MNIST is needed, and torchvision_2 is not installed"
    )
    assert (where, context) == (f"{path}, cell 5, line 11", "class Data(datasets.MNIST):")
    assert fix.startswith("install it: pip install torchvision_2")
    assert problem(f"{path}:data")[0] == "data was left out: torchvision_2 is not installed"
    assert problem(f"{path}:size")[0] == "size was left out: not run"
    assert problem(f"{path}:summary")[0].startswith("torchsummary_2.summary is needed, and torchsummary_2")
    assert "name 'Data' is not defined" in problem(f"{path}:Late")[0]


def test_the_source_of_a_notebooks_class(tmp_path: Path) -> None:
    path = write_notebook(tmp_path / "S7.ipynb", *NOTEBOOK)
    factory = load_module(f"{path}:Sized").factory
    assert inspect.getsource(factory).startswith("class Sized(nn.Module):\n")


def test_a_script_that_trains_is_read_by_its_definitions(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "main.py": "import argparse\nfrom torch import nn\nparser = argparse.ArgumentParser()\n"
            "parser.add_argument('--width', type=int, default=6)\nargs = parser.parse_args()\n"
            "class Net(nn.Sequential):\n    def __init__(self):\n"
            "        super().__init__(nn.Linear(args.width, 10))\n"
            "data = open('/nowhere')\nfor epoch in range(3):\n    raise SystemExit\n"
        },
    )
    loaded = load_module(f"{tmp_path}/main.py:Net")
    assert count(loaded.create()) == 70
    assert len(loaded.left_out) == 2


PROJECT = {
    "repo/.git/HEAD": "",
    "repo/settings.py": "WIDTH = 3\n",
    "repo/models/__init__.py": "from .resnet import *\n",
    "repo/models/resnet.py": "from torch import nn\nfrom .blocks.conv import Conv\n"
    "from settings import WIDTH\nfrom utils import train\nimport repo.settings as same\n"
    "class Net(nn.Sequential):\n    def __init__(self):\n        from models.late import DEPTH\n"
    "        super().__init__(*(Conv(WIDTH) for _ in range(DEPTH + same.WIDTH)))\n",
    "repo/models/blocks/conv.py": "from torch import nn\nfrom ..late import *\n"
    "class Conv(nn.Conv2d):\n    def __init__(self, width):\n        super().__init__(width, width, 1)\n",
    "repo/models/late.py": "DEPTH = 2\n",
    "repo/utils.py": "from torch.utils.data import DataLoader\nloader = DataLoader(open('/nowhere'))\n"
    "def train():\n    pass\n",
    "repo/unused.py": "raise SystemExit\n",
}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    write(tmp_path, PROJECT)
    return tmp_path / "repo"


def test_files_of_a_project(project: Path) -> None:
    loaded = load_module(f"{project}/models/resnet.py:Net")
    assert count(loaded.create()) == 5 * 12
    sources = loaded.sources
    assert sources is not None
    expected = set(PROJECT) - {"repo/.git/HEAD", "repo/unused.py", "repo/models/__init__.py"}
    assert set(sources.files) == expected
    assert sources.main == "repo/models/resnet.py"
    assert all(content.decode() == PROJECT[name] for name, content in sources.files.items())
    through = load_module(f"{project}/models/__init__.py:Net")
    assert count(through.create()) == 60


def test_a_copy_of_the_files_is_enough(project: Path, tmp_path: Path) -> None:
    loaded = load_module(f"{project}/models/resnet.py:Net")
    net = loaded.create()
    sources = loaded.sources
    assert sources is not None
    sources.write(tmp_path / "run" / "source")
    # What lies above a run does not count.
    (tmp_path / "run" / "settings.py").write_text("WIDTH = 999\n")
    again = load_module(loaded.local_reference, root=tmp_path / "run" / "source")
    assert count(again.create()) == count(net)
    assert again.sources == sources
    (tmp_path / "run" / "source" / "repo" / "settings.py").unlink()
    with pytest.raises(ModuleError, match=r"settings.WIDTH is needed, and (repo.)?settings is not"):
        load_module(loaded.local_reference, root=tmp_path / "run" / "source").create()


def test_two_projects_do_not_share_files(tmp_path: Path) -> None:
    code = "from torch import nn\nfrom helper import WIDTH\nclass Net(nn.Linear):\n    def __init__(self):\n"
    code += "        super().__init__(WIDTH, 1)\n"
    for width in (2, 3):
        write(tmp_path / str(width), {"model.py": code, "helper.py": f"WIDTH = {width}\n"})
    nets = [load_module(f"{tmp_path}/{width}/model.py:Net") for width in (2, 3)]
    assert [count(each.create()) for each in nets] == [3, 4]
    assert "helper" not in sys.modules
    assert not any(str(tmp_path) in each for each in sys.path)


def test_which_file_a_name_means(tmp_path: Path) -> None:
    """A file beside the script wins over an installed package, but not over Python's own or PyTorch."""
    write(
        tmp_path,
        {
            "model.py": "import math, torch, colorlog, jinja2\nfrom sub import inner\n"
            "found = [hasattr(each, 'MINE') for each in (math, torch, colorlog, jinja2, inner)]\n"
            "class Net(torch.nn.Linear):\n    def __init__(self):\n        super().__init__(sum(found), 1)\n",
            "math.py": "MINE = 1\n",
            "torch.py": "MINE = 1\n",
            "jinja2.py": "MINE = 1\n",
            # A folder without __init__.py loses against an installed package.
            "colorlog/x.py": "",
            "sub/inner.py": "MINE = 1\n",
        },
    )
    assert count(load_module(f"{tmp_path}/model.py:Net").create()) == 3


IMPORTS = """
import nowhere_1.part as part
import nowhere_2.part
from nowhere_3 import a, b as c
from .nowhere_4 import *
from collections import Iterable, OrderedDict
from torch._six import container_abcs
from helper import missing, there, made
import broken
try:
    import nowhere_5
except ImportError:
    nowhere_5 = None
try:
    from collections import Mapping
    from helper import missing as other
except (AttributeError, ImportError):
    other = 5
from torch import nn
class Net(nn.Module):
    def __init__(self, name=""):
        super().__init__()
        try:
            import nowhere_6
        except Exception:
            self.six = True
        self.fc = nn.Linear(there, other)
        assert nowhere_5 is None and OrderedDict
        exec(name)
"""


def test_imports_that_fail(tmp_path: Path) -> None:
    helper = "there = 3\nmade = open('/nowhere')\n"
    write(tmp_path, {"model.py": IMPORTS, "helper.py": helper, "broken.py": "def f(:\n"})
    loaded = load_module(f"{tmp_path}/model.py:Net")
    assert count(loaded.create()) == 20
    for use, what in {
        "part.x()": "nowhere_1.part.x is needed, and nowhere_1 is not installed",
        "nowhere_2.part.f()": "nowhere_2.part.f is needed, and nowhere_2 is not installed",
        "c()": "nowhere_3.b is needed, and nowhere_3 is not installed",
        "Iterable()": "collections.Iterable is needed, and collections does not have it (Python 3.",
        "container_abcs.x()": "torch._six.container_abcs.x is needed, and there is no module torch._six",
        "missing()": "helper.missing is needed, and helper.py does not have it",
        "made()": "helper.made is needed, and helper.py, line 2 makes it, which was left out: not run",
        "broken.f()": "broken.f is needed, and broken.py, line 1: the file cannot be run: SyntaxError",
    }.items():
        found = problem(f'{tmp_path}/model.py:Net("{use}")')[0]
        assert what in found.replace("convsmith_user_", "")


def test_a_star_import_of_nothing_is_named(tmp_path: Path) -> None:
    write(tmp_path, {"model.py": "from nowhere_1 import *\nclass Net(Module):\n    pass\n"})
    what, _, context, _ = problem(f"{tmp_path}/model.py:Net")
    assert "NameError: name 'Module' is not defined" in what
    del context


def test_python_path_of_a_file(tmp_path: Path) -> None:
    code = "import sys\nsys.path.append('/content/drive/My Drive/src/nets/')\nfrom width import WIDTH\n"
    code += "from torch import nn\nclass Net(nn.Linear):\n"
    code += "    def __init__(self):\n        super().__init__(WIDTH, 1)\n"
    write(tmp_path, {"mine/model.py": code, "mine/src/nets/width.py": "WIDTH = 4\n"})
    loaded = load_module(f"{tmp_path}/mine/model.py:Net")
    assert count(loaded.create()) == 5
    assert loaded.sources is not None
    loaded.sources.write(tmp_path / "copy")
    assert count(load_module(loaded.local_reference, root=tmp_path / "copy").create()) == 5


def test_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(limits, "TIME_LIMIT", 0.2)
    start = "from torch import nn\nprint('hello')\n"
    write(
        tmp_path,
        {
            "forever.py": f"{start}class Net(nn.Module):\n    while True:\n        pass\n",
            "net.py": f"{start}class Net(nn.Module):\n    def __init__(self, code):\n        exec(code)\n",
        },
    )
    what, where, _, fix = problem(f"{tmp_path}/forever.py:Net")
    assert what == "the file does not end: stopped after 0.2 seconds"
    assert where in {f"{tmp_path}/forever.py, line {line}" for line in (4, 5)}
    assert "__main__" in fix
    for code, what in {
        "while True: pass": "the constructor of Net does not end: stopped after 0.2 seconds",
        "raise SystemExit": "the constructor of Net ends the program: exit()",
        "input('x')": "the constructor of Net asks for input",
        "import sys; sys.stdin.read()": "the constructor of Net asks for input",
    }.items():
        found = problem(f'{tmp_path}/net.py:Net("{code}")')
        assert found[:2] == (what, f"{tmp_path}/net.py, line 5")
    assert capsys.readouterr().out == ""


def test_modules_of_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = load_module("torch.nn.modules.linear:Linear(3, 4)")
    assert count(loaded.create()) == 16
    assert loaded.package == f"torch {torch.__version__}"
    assert loaded.sources is None
    assert loaded.local_reference == loaded.reference
    assert problem("nowhere_at_all.nets:net()")[0] == "nowhere_at_all is not installed"
    assert "pip install nowhere_at_all" in problem("nowhere_at_all.nets:net()")[3]
    assert "No module named 'torch.nowhere'" in problem("torch.nowhere:net()")[0]
    assert problem("torch.nn:Liner()")[3] == "did you mean 'Linear'?"
    assert problem("torch.nn.modules:__name__")[0] == "__name__ is a str, expected a class or function"
    monkeypatch.chdir(tmp_path)
    write(tmp_path, {"nets/model.py": ""})
    assert problem("nets.model:Net(3)")[3] == f"write {Path('nets/model.py')}:Net(3)"


def test_what_makes_no_net_is_not_called(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    canary = tmp_path / "canary"
    write(
        tmp_path,
        {
            "elsewhere/plain/__init__.py": "def touch(path):\n    open(path, 'w')\n",
            "elsewhere/nets/__init__.py": "import torch\ndef net():\n    return torch.nn.Linear(2, 3)\n",
        },
    )
    monkeypatch.syspath_prepend(tmp_path / "elsewhere")
    for text, what in {
        f"os:system('touch {canary}')": "os is a module of Python, not a package of nets",
        f"subprocess:run(['touch', '{canary}'])": "subprocess is a module of Python",
        f"torch.serialization:os.system('touch {canary}')": "os.system is no function of a package of nets",
        f"torch:save([1], '{canary}')": "save is no function of a package of nets",
        f"plain:touch('{canary}')": "touch is no function of a package of nets",
        f"numpy:memmap('{canary}', mode='w+', shape=8)": "memmap is a class of another kind",
    }.items():
        found = problem(text)
        assert what in found[0], text
        assert not canary.exists()
    assert problem("os:system('x')")[0].endswith("it was not called")
    assert count(load_module("nets:net()").create()) == 9


def test_a_file_outside_of_the_root(tmp_path: Path) -> None:
    write(tmp_path, {"model.py": MODEL, "root/x.py": ""})
    with pytest.raises(FileError, match="found a file outside of"):
        load_module("../model.py:Net", root=tmp_path / "root")


def test_a_notebook_that_creates_its_net_by_functions(tmp_path: Path) -> None:
    """`import model; net = model.resnet().to(device)`: the function only creates the net."""
    write(
        tmp_path,
        {
            "model.py": "from torch import nn\nclass Net(nn.Linear):\n    pass\n"
            "def net(width):\n    return Net(width, 1)\ndef wide():\n    return net(5)\n"
        },
    )
    path = write_notebook(
        tmp_path / "S7.ipynb",
        "import torch, model as m\ndevice = torch.device('cuda' if torch.cuda.is_available() else 'cpu')",
        "model = m.wide().to(device)",
        "from nowhere_1.model import *\nimport nowhere_1.nets as model",
    )
    assert count(load_module(f"{path}:model").create()) == 6
    assert count(load_module(f"{path}:m.Net(2, 3)").create()) == 9


def test_variants_that_a_loop_creates(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom functools import partial\nfrom torch import nn\nclass Net(nn.Linear):\n    pass\n"
    )
    code += "def _net(width, depth):\n    return nn.Sequential(*(Net(width, width) for _ in range(depth)))\n"
    code += "for n in (1, 2):\n    setattr(sys.modules[__name__], f'net{n}', partial(_net, 1, n))\n"
    code += "for n in (3, 4):\n    globals()[f'net{n}'] = partial(_net, 1, n)\n"
    write(tmp_path, {"nets.py": code})
    assert [count(load_module(f"{tmp_path}/nets.py:net{n}").create()) for n in (2, 3)] == [4, 6]


def test_a_repository_that_a_notebook_clones(tmp_path: Path) -> None:
    path = write_notebook(
        tmp_path / "S7.ipynb",
        "!git clone -q https://example.org/someone/mylib.git\n%cd work/nets",
        "import os\nos.chdir('/content/more')",
        "from mylib.model import Net\nfrom width import WIDTH\nfrom depth import DEPTH\nmodel = Net()",
        "from torch import nn\nnet = nn.Linear(WIDTH, DEPTH)",
    )
    write(tmp_path, {"nets/width.py": "WIDTH = 2\n", "more/depth.py": "DEPTH = 2\n"})
    assert "git clone https://example.org/someone/mylib.git" in problem(f"{path}:Net")[3]
    assert problem(f"{path}:model")[:3] == (
        "model was left out: mylib is not installed",
        f"{path}, cell 3, line 4",
        "model = Net()",
    )
    assert count(load_module(f"{path}:net").create()) == 6
    write(tmp_path, {"mylib/model.py": "from torch import nn\nclass Net(nn.Flatten):\n    pass\n"})
    assert count(load_module(f"{path}:model").create()) == 0


def test_a_file_in_a_folder_beside(tmp_path: Path) -> None:
    write(tmp_path, {"models/resnet.py": "", "main.py": "from resnet import Net\n"})
    assert problem(f"{tmp_path}/main.py:Net")[3].startswith(f"name {Path('models/resnet.py')}:Net, or make")
