"""The class: some forty submissions with the faults of real hand-ins."""

from helpers.submissions import (
    IMPORTS,
    NET,
    OWN,
    README,
    TRAINING,
    Case,
    Expected,
    changed,
    notebook,
    own,
    renamed,
    summary,
    trained,
    untrained,
)

PASS = Expected(result="pass")
MODEL = {"model.py": IMPORTS + NET}
WEIGHTS = {"net.pth": trained}
_BLOCK = (
    "nn.Sequential(\n            nn.Conv2d({a}, {b}, (3, 3), padding=1, bias=False), "
    "nn.BatchNorm2d({b}), nn.ReLU(), nn.Dropout(0.05))"
)
_FREEZE = """        for each in self.convblock2.parameters():
            each.requires_grad = False
        self.pool1 ="""


def model(*pairs: tuple[str, str], head: str = IMPORTS, tail: str = "") -> dict[str, str]:
    return {"model.py": head + changed(*pairs) + tail}


def fails(*why: str, parameters: int | None = 7_328) -> Expected:
    return Expected(result="fail", why=why, parameters=parameters)


def not_judged(*why: str) -> Expected:
    return Expected(result="not judged", why=why, net="", parameters=None)


RIGHT = [
    Case(name="plain", texts=MODEL, weights=WEIGHTS, expected=PASS, fast=True),
    Case(
        name="ends in softmax",
        texts=model(("F.log_softmax", "F.softmax")),
        weights=WEIGHTS,
        expected=PASS,
        fast=True,
    ),
    Case(
        name="ends in logits", texts=model(("F.log_softmax(x, dim=-1)", "x")), weights=WEIGHTS, expected=PASS
    ),
    Case(
        name="mean as global pooling",
        texts=model(("self.gap(x)", "x.mean((2, 3), keepdim=True)"), ("self.gap = nn.AvgPool2d(4)\n", "\n")),
        weights=WEIGHTS,
        expected=PASS,
        fast=True,
    ),
    Case(
        name="function as global pooling",
        texts=model(("self.gap(x)", "F.adaptive_avg_pool2d(x, 1)"), ("self.gap = nn.AvgPool2d(4)\n", "\n")),
        weights=WEIGHTS,
        expected=PASS,
    ),
    Case(name="dropout 2d", texts=model(("nn.Dropout(", "nn.Dropout2d(")), weights=WEIGHTS, expected=PASS),
    Case(
        name="dropout as a function",
        texts=model(
            (", nn.Dropout(0.05)", ""), ("self.pool1(x)", "F.dropout(self.pool1(x), 0.05, self.training)")
        ),
        weights=WEIGHTS,
        expected=PASS,
    ),
    Case(
        name="imports of what is missing",
        texts=model(
            head="import no_such_vision as torchvision\nfrom no_such_summary import summary\n"
            "from no_such_bar import tqdm\n" + IMPORTS
        ),
        weights=WEIGHTS,
        expected=PASS,
        fast=True,
    ),
    Case(
        name="trains when imported",
        texts=model(
            tail=TRAINING
            + "\nfrom torchvision import datasets\ntrain = datasets.MNIST('data', download=True)\n"
            "for epoch in range(10**9):\n    loss = model(train[epoch]).sum()\n    loss.backward()\n"
        ),
        weights=WEIGHTS,
        expected=PASS,
        fast=True,
    ),
    Case(
        name="notebook only",
        texts={
            "S5.ipynb": notebook(
                "!pip install torchsummary\n%matplotlib inline\n" + IMPORTS,
                NET,
                "from torchsummary import summary\nsummary(Net(), input_size=(1, 8, 8))",
                TRAINING,
                outputs={3: summary(7_328)},
            )
        },
        weights=WEIGHTS,
        expected=Expected(result="pass", net="S5.ipynb:Net"),
        fast=True,
    ),
    Case(
        name="other classes that cannot be built",
        texts=model(
            tail="\nclass Attempt(nn.Module):\n    def __init__(self):\n        super().__init__()\n"
            "        self.conv = nn.Conv2d(1, undefined_width, 3)\n\n"
            "class Block(nn.Module):\n    def __init__(self, width):\n        super().__init__()\n"
            "        self.conv = nn.Conv2d(width, width, 3)\n"
        ),
        weights=WEIGHTS,
        expected=PASS,
    ),
    Case(
        name="two nets and weights of one",
        texts=model(tail=OWN),
        weights=WEIGHTS,
        expected=PASS,
        fast=True,
    ),
    Case(
        name="two nets and one is trained",
        texts={
            "model.py": IMPORTS
            + changed(("class Net", "class Old"), ("super(Net", "super(Old"), ("24", "20"))
            + NET,
            "S5.ipynb": notebook(IMPORTS, "from model import *", TRAINING),
        },
        expected=Expected(result="open", why=("not checked: test accuracy",)),
    ),
    Case(
        name="net in a folder with its blocks in another file",
        texts={
            "src/blocks.py": IMPORTS
            + "\ndef block(a, b):\n    return nn.Sequential(nn.Conv2d(a, b, 3, padding=1, bias=False), "
            "nn.BatchNorm2d(b), nn.ReLU(), nn.Dropout(0.05))\n",
            "src/model.py": IMPORTS
            + "from blocks import block\n"
            + changed(
                *(
                    (
                        _BLOCK.format(a=a, b=b),
                        f"block({a}, {b})",
                    )
                    for a, b in ((1, 16), (16, 24), (24, 16))
                )
            ),
        },
        weights=WEIGHTS,
        expected=Expected(result="pass", net="src/model.py:Net"),
    ),
    Case(
        name="arguments in the notebook",
        texts={
            "model.py": IMPORTS
            + changed(
                ("def __init__(self):", "def __init__(self, width, drop):"), ("24", "width"), ("0.05", "drop")
            ),
            "S5.ipynb": notebook(
                IMPORTS,
                "from model import Net\nwidth = 24",
                TRAINING.replace("Net()", "Net(width, drop=0.05)"),
            ),
        },
        weights=WEIGHTS,
        expected=Expected(result="pass", net="model.py:Net(24, drop=0.05)"),
        fast=True,
    ),
    Case(
        name="checkpoint",
        texts=MODEL,
        weights={"checkpoint.pt": lambda name: {"epoch": 12, "model_state_dict": trained(name), "loss": 0.1}},
        expected=PASS,
    ),
    Case(
        name="weights of a parallel net",
        texts=MODEL,
        weights={"net.pth": lambda name: {f"module.{key}": each for key, each in trained(name).items()}},
        expected=PASS,
    ),
    Case(name="safetensors", texts=MODEL, weights={"net.safetensors": trained}, expected=PASS),
    Case(
        name="half precision",
        texts=MODEL,
        weights={
            "net.pth": lambda name: {
                key: each.half() if each.is_floating_point() else each for key, each in trained(name).items()
            }
        },
        expected=PASS,
    ),
    Case(
        name="images from -1 to 1",
        texts=MODEL,
        weights={"net.pth": lambda name: trained(name, scale=0.5)},
        expected=PASS,
    ),
    Case(
        name="first and best weights",
        texts=MODEL,
        weights={"epoch1.pth": untrained, "best.pth": trained},
        expected=PASS,
    ),
]

WRONG = [
    Case(
        name="frozen layers",
        texts=model(
            ("24", "48"),
            (
                "        self.pool1 =",
                _FREEZE,
            ),
        ),
        # 16*9 + 32 + 16*48*9 + 96 + 48*16*9 + 32 + 160
        expected=fails("parameters: 14,288", parameters=14_288),
        fast=True,
    ),
    Case(
        name="hidden tensors",
        texts=model(
            ("        self.gap =", "        self.secret = torch.randn(16, 16, 4, 4)\n        self.gap ="),
            ("self.gap(x)", "self.gap(x + F.conv2d(x, self.secret, padding='same'))"),
        ),
        expected=fails("4,096 values", "secret (model.py:24)"),
        fast=True,
    ),
    Case(
        name="average pool of one pixel",
        texts=model(
            ("nn.AvgPool2d(4)", "nn.AvgPool2d(1)"), ("nn.Conv2d(16, 10, (1, 1)", "nn.Conv2d(16, 10, (4, 4)")
        ),
        # The last layer has 16 times as many weights: 160 * 16 - 160 more.
        expected=fails("global-average-pooling", "parameters: 9,728", parameters=9_728),
    ),
    Case(
        name="flatten instead of pooling",
        texts=model(
            ("nn.AvgPool2d(4)", "nn.Linear(256, 10)"),
            ("self.gap(x)", "self.gap(x.flatten(1))"),
            ("x = self.convblock4(x)\n", "\n"),
            ("        self.convblock4 = nn.Conv2d(16, 10, (1, 1), bias=False)\n", "\n"),
        ),
        # 7,328 - 160 + 2,570
        expected=fails("global-average-pooling", parameters=9_738),
    ),
    Case(
        name="dropout of 0", texts=model(("0.05", "0")), weights=WEIGHTS, expected=fails("dropout"), fast=True
    ),
    Case(
        name="dropout that is never called",
        texts=model(
            (", nn.Dropout(0.05)", ""), ("self.gap =", "self.drop = nn.Dropout(0.1)\n        self.gap =")
        ),
        weights=WEIGHTS,
        expected=fails("dropout"),
    ),
    Case(
        name="batch norm that is never called",
        texts=model(
            *((f" nn.BatchNorm2d({width}),", "") for width in (16, 24)),
            ("        self.gap =", "        self.norm = nn.BatchNorm2d(16)\n        self.gap ="),
        ),
        # 7,328 without 112 of three norms, and with 32 of one.
        expected=fails("batch-norm", parameters=7_248),
    ),
    Case(
        name="no batch norm",
        texts=model(*((f" nn.BatchNorm2d({width}),", "") for width in (16, 24))),
        expected=fails("batch-norm", parameters=7_216),
    ),
    Case(
        name="too wide",
        texts=model(("24", "32")),
        # 144 + 32 + 4,608 + 64 + 4,608 + 32 + 160
        expected=fails("parameters: 9,648", parameters=9_648),
    ),
    Case(
        name="eleven outputs",
        texts=model(("nn.Conv2d(16, 10,", "nn.Conv2d(16, 11,"), ("view(-1, 10)", "view(-1, 11)")),
        expected=fails("11 outputs", parameters=7_344),
        fast=True,
    ),
    Case(
        name="colour images",
        texts=model(("nn.Conv2d(1, 16,", "nn.Conv2d(3, 16,")),
        expected=fails("channels", parameters=None),
        fast=True,
    ),
    Case(
        name="forward fails",
        texts=model(("self.convblock3(x)", "self.convblock5(x)")),
        expected=fails("convblock5", parameters=None),
    ),
    Case(
        name="view mixes images",
        texts=model(("nn.AvgPool2d(4)", "nn.AvgPool2d(2)")),
        expected=fails("view"),
    ),
    Case(
        name="returns a pair",
        texts=model(("return F.log_softmax(x, dim=-1)", "return F.log_softmax(x, dim=-1), x")),
        expected=fails("tuple"),
    ),
    Case(
        name="untrained",
        texts=MODEL,
        weights={"net.pth": untrained},
        expected=fails("test accuracy"),
        fast=True,
    ),
    Case(
        name="weights of another net",
        texts=MODEL,
        weights={"net.pth": lambda name: trained(name, OWN, "Mine")},
        expected=fails("weights", "do not fit"),
        fast=True,
    ),
    Case(
        name="weights that are not finite",
        texts=MODEL,
        weights={
            "net.pth": lambda name: {
                key: each / 0 if each.is_floating_point() else each for key, each in trained(name).items()
            }
        },
        expected=fails("weights", "not finite"),
    ),
    Case(
        name="claims another accuracy",
        texts={**MODEL, "README.md": README.format(accuracy="99.91 %")},
        weights=WEIGHTS,
        expected=Expected(result="pass", differs=("test accuracy",)),
        fast=True,
    ),
    Case(
        name="prints the parameters of another net",
        texts={
            "S5.ipynb": notebook(
                IMPORTS, NET, "summary(model, (1, 8, 8))", TRAINING, outputs={3: summary(13_584)}
            )
        },
        weights=WEIGHTS,
        expected=Expected(result="pass", net="S5.ipynb:Net", differs=("parameters",)),
        fast=True,
    ),
    Case(
        name="claims another receptive field",
        # 3, 5, then 2x2 with stride 2: 6, then 3x3: 10.
        texts={**MODEL, "README.md": "Final receptive field: 28\n"},
        weights=WEIGHTS,
        expected=Expected(result="pass", differs=("receptive field",)),
    ),
]

BROKEN = [
    Case(name="empty", expected=not_judged("empty"), fast=True),
    Case(
        name="README only",
        texts={"README.md": "My net has 7,328 parameters.\n"},
        expected=not_judged("no .py file"),
    ),
    Case(
        name="syntax error",
        texts={"model.py": IMPORTS + NET + "\ndef train(\n"},
        expected=not_judged("no Python"),
    ),
    Case(
        name="no net",
        texts={"main.py": "import torch\n\ndef main():\n    print(torch.__version__)\n"},
        expected=not_judged("no net"),
    ),
    Case(
        name="two nets and nothing says which",
        texts={
            "model.py": IMPORTS
            + changed(("class Net", "class First"), ("super(Net", "super(First"))
            + changed(("class Net", "class Second"), ("super(Net", "super(Second"), ("24", "20"))
        },
        expected=not_judged("model.py:First", "model.py:Second"),
        fast=True,
    ),
    Case(
        name="arguments that nobody knows",
        texts=model(("def __init__(self):", "def __init__(self, width):"), ("24", "width")),
        expected=Expected(result="fail", why=("needs arguments", "width"), parameters=None),
        fast=True,
    ),
]

COPIES = [
    Case(
        name="original",
        texts={"model.py": IMPORTS + OWN},
        weights={"net.pth": own},
        # 108 + 12 + 24 + 2,160 + 20 + 210
        expected=Expected(
            result="pass",
            net="model.py:Mine",
            parameters=2_534,
            same_as=("copy",),
            signs=("same weights", "same source text but for names", "same structure"),
        ),
        fast=True,
    ),
    Case(
        name="copy",
        texts={
            "network.py": IMPORTS
            + changed(
                ("Mine", "MyOwnNetwork"),
                ("    '''My own net.'''\n", "    # All my own work.\n"),
                ("self.first", "self.a"),
                ("self.norm", "self.b"),
                ("self.second", "self.c"),
                ("self.drop", "self.d"),
                ("self.out", "self.e"),
                ("features", "y"),
                ("images", "x"),
                text=OWN,
            )
        },
        weights={"best_model.pth": renamed},
        expected=Expected(
            result="pass",
            net="network.py:MyOwnNetwork",
            parameters=2_534,
            same_as=("original",),
            signs=("same weights", "same source text but for names", "same structure"),
        ),
        fast=True,
    ),
]

STUDENTS = (*RIGHT, *WRONG, *BROKEN, *COPIES)
# What the teacher handed out: nobody copied it from another student.
STARTER = MODEL
