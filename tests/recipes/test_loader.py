"""Recipes: the library, overrides and validation."""

from pathlib import Path

import pytest
import tomli_w
from pydantic import BaseModel

from convsmith.briefs.augmentations import AugmentationChoice
from convsmith.briefs.kind_rules import KindRule
from convsmith.briefs.loader import load_brief
from convsmith.briefs.schema import Brief
from convsmith.data.augment.config import AugmentConfig
from convsmith.data.dataset import dataset_info
from convsmith.errors import FileError, RecipeError, suggest
from convsmith.recipes.fit import analyze_recipe, check_recipe
from convsmith.recipes.loader import load, load_settings, recipe_names, with_overrides, with_values
from convsmith.recipes.origin import with_origin
from convsmith.recipes.schema import Recipe
from convsmith.training.config import Progressive
from convsmith.training.optimizers.adam import Adam, AdamW
from convsmith.training.optimizers.muon import Muon
from convsmith.training.optimizers.sgd import SGD
from convsmith.training.schedules.one_cycle import OneCycle
from convsmith.training.schedules.plateau import Plateau


def problems(name: str, *overrides: str) -> list[str]:
    """Return the first and last line of each problem, joined."""
    with pytest.raises(RecipeError) as caught:
        load(name, overrides)
    return [f"{problem.where}: {problem.what} | {problem.fix}" for problem in caught.value.problems]


@pytest.mark.parametrize("name", recipe_names())
def test_every_library_recipe_is_valid(name: str) -> None:
    recipe = load(name)
    assert recipe.name == name
    assert recipe.description
    analysis = analyze_recipe(recipe, dataset_info(recipe.data))
    checks = check_recipe(recipe, analysis)
    assert [check for check in checks if check.verdict == "fail"] == []


@pytest.mark.parametrize("name", recipe_names())
def test_a_written_recipe_loads_unchanged(name: str, tmp_path: Path) -> None:
    recipe = load(name, ["seed=7", "train.optimizer=adamw"])
    path = tmp_path / "other name.toml"
    path.write_text(tomli_w.dumps(recipe.table()), encoding="utf-8")
    assert load(str(path)) == recipe


def fields_of(model: BaseModel, prefix: str = "") -> list[tuple[str, object]]:
    """Return every field of a recipe by its dotted name; list items have an index."""
    found: list[tuple[str, object]] = []
    for name in type(model).model_fields:
        value = getattr(model, name)
        items = enumerate(value) if isinstance(value, tuple) else [("", value)]
        for index, item in items:
            path = f"{prefix}{name}" + (f".{index}" if isinstance(value, tuple) else "")
            if isinstance(item, AugmentationChoice | KindRule):
                # A rule without limits is written as its name.
                written: object = item.model_dump()
                found += [(path, written)] if isinstance(written, str) else []
            else:
                found += fields_of(item, f"{path}.") if isinstance(item, BaseModel) else [(path, item)]
    return found


def test_every_field_can_be_overridden() -> None:
    recipe = load("cifar10-classic")
    fields = fields_of(recipe)
    assert len(fields) > 40
    for path, value in fields:
        if value is None or value == {}:
            continue
        text = tomli_w.dumps({"v": list(value) if isinstance(value, tuple) else value}).removeprefix("v = ")
        assert load("cifar10-classic", [f"{path}={text.strip()}"]) == recipe, path


def test_values_are_toml_or_plain_text() -> None:
    recipe = load(
        "digits", ["seed=3", "train.optimizer.lr=1e-3", "model.bias=true", "data.source=./a b", 'name="x"']
    )
    assert (recipe.seed, recipe.train.optimizer.lr, recipe.notation.bias) == (3, 1e-3, True)
    assert (recipe.data.source, recipe.name) == ("./a b", "x")
    assert load("digits", ["augment.transforms=[]"]).augment.transforms == ()
    assert load("digits", ["train.optimizer.lr=1"]).train.optimizer.lr == 1.0


def test_transforms_are_addressed_by_name_or_index() -> None:
    for key in ("ShiftScaleRotate", "1"):
        recipe = load("cifar10-classic", [f"augment.transforms.{key}.p=0.25"])
        assert [transform.p for transform in recipe.augment.transforms] == [0.5, 0.25, 0.5]


def test_another_variant_has_its_defaults() -> None:
    classic = load("cifar10-classic", ["train.optimizer=adam"])
    assert classic.train.optimizer == Adam()
    keeps_lr = load("mnist-classic", ["train.optimizer.lr=0.5", "train.optimizer.name=adamw"])
    assert keeps_lr.train.optimizer == AdamW(lr=0.5)
    assert load("mnist-classic", ["train.schedule=one-cycle"]).train.schedule == OneCycle()
    told = problems("mnist-classic", "train.optimizer=adam", "train=3")
    assert "train: found 3" in told[0]
    same = load("mnist-classic", ["train.optimizer.lr=0.5"]).train.optimizer
    assert isinstance(same, SGD)
    assert same.momentum == 0.9


def test_variant_without_name_overrides_the_default(tmp_path: Path) -> None:
    rest = load("mnist-5k", ["train.optimizer.rest.weight_decay=0.005"]).train.optimizer
    assert isinstance(rest, Muon)
    # The default optimizer of Muon's other parameters.
    assert rest.rest == SGD(lr=0.1, nesterov=True, weight_decay=0.005)
    path = tmp_path / "mine.toml"
    path.write_text(
        '[data]\nsource = "digits"\n[model]\nnet = "C8 / G F10"\n[train]\nepochs = 1\n', encoding="utf-8"
    )
    assert load(str(path), ["train.optimizer.lr=0.3"]).train.optimizer == SGD(lr=0.3)
    told = problems(str(path), "train.optimizer.lr=fast", "train.schedule.every=2", "augment.mix.alpha=1.0")
    assert "train.optimizer.lr: found 'fast', expected a number" in told[1]
    assert "train.schedule.every: unknown field" in told[2]
    assert told[0] == "augment.mix: missing name | set it: augment.mix.name=..."


def test_every_problem_is_reported_at_once() -> None:
    told = problems(
        "digits",
        "train.epoch=3",
        "train.batch_size=0",
        "model.net=C16 ?3",
        "model.activation=relo",
        "novalue",
    )
    assert len(told) == 5
    text = "\n".join(told)
    for part in (
        "train.epoch: unknown field | did you mean 'epochs'?",
        "train.batch_size: found 0, expected at least 1",
        "model.net, character 5: unknown layer kind '?'",
        "model.activation: unknown value 'relo' | did you mean 'relu'?",
        "novalue: expected key=value | for example train.epochs=5",
    ):
        assert part in text


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("sed=1", "sed: unknown field | did you mean 'seed'?"),
        ("seed=-1", "seed: found -1, expected at least 0"),
        ("seed=true", "seed: found True, expected a whole number | for example seed=0"),
        ("seed=1.5", "seed: found 1.5, expected a whole number"),
        (
            "train.epochs=five",
            "train.epochs: found 'five', expected a whole number | for example train.epochs=32",
        ),
        ("train.epochs=1_000_000", "train.epochs: found 1000000, expected at most 100000"),
        ("train.optimizer.lr=nan", "train.optimizer.lr: found nan, expected"),
        (
            "train.optimizer.lr=1e99",
            "train.optimizer.lr: found 1e+99, expected at most 1000000",
        ),
        ("train.optimizer=adamm", "train.optimizer: unknown name 'adamm' | did you mean 'adam'?"),
        ("train.optimizer.momentun=0.5", "train.optimizer.momentun: unknown field | choose from"),
        ("train.schedule.name=stepp", "train.schedule: unknown name 'stepp' | did you mean 'step'?"),
        ("train.schedule=plateau", ": the plateau schedule monitors a validation split"),
        ("train.stop_after=31", "train: stop_after: found 31, expected at most epochs = 30"),
        ("train=3", "train: found 3, expected"),
        ("train.epochs.x=3", "train.epochs.x: 'x' is inside a plain value"),
        ("augment.transforms.CoarseDropout.p=1", "no item 'CoarseDropout' | choose from 'ShiftScaleRotate'"),
        ("augment.transforms.7.p=1", "no item '7'"),
        ("model.dropout=1.0", "model.dropout: found 1.0, expected less than 1"),
        ("data.source=", "data.source: found '', expected string should have at least 1 character"),
        ("name=../x", "name: found '../x', expected string should match pattern"),
        ("model.net=os.system", "model.net, character 1: unknown layer kind 'o'"),
    ],
)
def test_single_problem(override: str, expected: str) -> None:
    told = problems("digits", override)
    assert len(told) == 1
    assert expected in told[0]


def test_plateau_monitors_the_test_set_on_request_only() -> None:
    recipe = load("digits", ["train.schedule=plateau", "train.schedule.monitor=test"])
    assert isinstance(recipe.train.schedule, Plateau)
    assert isinstance(load("cifar10-rmsprop").train.schedule, Plateau)
    assert load("cifar10-rmsprop").train.schedule.monitor == "validation"  # type: ignore[union-attr]


def test_unknown_recipe_and_missing_file() -> None:
    with pytest.raises(RecipeError, match="unknown recipe 'digit'") as caught:
        load("digit")
    assert "did you mean 'digits'?" in str(caught.value)
    with pytest.raises(FileError, match="No such file"):
        load("nowhere/recipe.toml")


def test_recipe_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(
        '[data]\nsource = "digits"\n[model]\nnet = "C8 / G F10"\n[train]\nepochs = 1\n', encoding="utf-8"
    )
    recipe = load(str(path))
    assert recipe.name == "mine"
    assert recipe == Recipe.model_validate(
        {
            "name": "mine",
            "data": {"source": "digits"},
            "model": {"net": "C8 / G F10"},
            "train": {"epochs": 1},
        }
    )
    path.write_text("", encoding="utf-8")
    assert [text.split(" |")[0] for text in problems(str(path))] == [
        "data: missing table",
        "model: missing table",
        "train: missing table",
    ]


def test_recipe_extends_another(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(
        'extends = "cifar10-sprint"\nseed = 3\n'
        "[augment.transforms.CoarseDropout]\np = 0.5\n"
        '[train]\nepochs = 7\noptimizer = { lr = 0.2, name = "adamw" }\n'
    )
    fields = [
        "seed=3",
        "augment.transforms.CoarseDropout.p=0.5",
        "train.epochs=7",
        "train.optimizer=adamw",
        "train.optimizer.lr=0.2",
    ]
    expected = load("cifar10-sprint", fields)
    # The result of the other recipe does not apply.
    assert load(str(path)) == expected.model_copy(update={"name": "mine", "description": "", "result": ""})
    (further := tmp_path / "further.toml").write_text(
        f'extends = "{path}"\nbrief = "course-cifar10-blocks"\n'
    )
    assert load(str(further)).train == expected.train
    assert load(str(further)).brief != expected.brief


def test_false_removes_optional_values(tmp_path: Path) -> None:
    without = load(
        "cifar10-sprint", ["train.progressive=false", "train.microbatch_size=false", "data.resize=false"]
    )
    assert (without.train.progressive, without.train.microbatch_size) == (None, None)
    left = {"progressive": None, "microbatch_size": None}
    library = load("cifar10-sprint")
    expected = library.model_copy(update={"train": library.train.model_copy(update=left)})
    assert without == with_origin(expected, library)
    (base := tmp_path / "base.toml").write_text(
        'extends = "cifar10-sprint"\nbrief = false\naugment = false\n'
    )
    bare = load(str(base))
    assert (bare.brief, bare.augment) == (Brief(), AugmentConfig())
    (again := tmp_path / "again.toml").write_text(
        f'extends = "{base}"\n[brief]\nmax_macs = 9\n[train]\nprogressive = false\n'
    )
    # A removed value can be set again.
    assert load(str(again), ["train.progressive.start_size=20"]).train.progressive == Progressive(
        start_size=20
    )
    assert load(str(again)).brief == Brief(max_macs=9)
    (brief := tmp_path / "brief.toml").write_text('extends = "course-cifar10"\nmax_parameters = false\n')
    course = load_brief("course-cifar10")
    assert load_brief(str(brief)) == course.model_copy(update={"max_parameters": None})
    assert load("cifar10-classic", [f"brief={brief}"]).brief == load_brief(str(brief))


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("train.ema=false", "train.ema: found False"),
        ("train.schedule=false", "train.schedule: found False, expected a table"),
        ("data=false", "data: found False, expected a table"),
        ("seed=false", "seed: found False"),
    ],
)
def test_false_cannot_remove_required_values(override: str, expected: str) -> None:
    (told,) = problems("digits", override)
    assert expected in told


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("extends = 3", "found 3, expected the name of another recipe"),
        ('extends = ["digits"]', "found ['digits'], expected the name of another recipe"),
        ('extends = "PATH"', "the recipe extends itself"),
        ('extends = "cifar10-sprit"', "unknown recipe 'cifar10-sprit' | did you mean 'cifar10-sprint'?"),
        ('extends = "digits"\n[augment.transforms.Flip]\np = 1', "no item 'Flip'"),
        ('extends = "digits"\n[train]\nepoch = 1', "train.epoch: unknown field"),
    ],
)
def test_invalid_extends(text: str, expected: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text.replace("PATH", str(path)))
    assert expected in " ".join(problems(str(path)))


@pytest.mark.parametrize(
    ("override", "fix"),
    [
        ("train.lookahead=5", "set its fields: train.lookahead.alpha, train.lookahead.k"),
        ("train.optimizer=5", 'write {name="sgd"}, or another of sgd, rmsprop, '),
        ("augment.transforms=[5]", 'write {name="HorizontalFlip"}, or another of HorizontalFlip, '),
    ],
)
def test_value_instead_of_a_table(override: str, fix: str) -> None:
    with pytest.raises(RecipeError) as caught:
        load("digits", [override])
    (problem,) = caught.value.problems
    assert problem.what == "found 5, expected a table"
    assert problem.fix is not None
    assert fix in problem.fix


def test_settings_of_a_net() -> None:
    settings = load_settings(["norm=none", "bias=true", "dropout=0.1"])
    assert (settings.norm, settings.bias, settings.dropout) == ("none", True, 0.1)
    with pytest.raises(RecipeError, match="unknown field") as caught:
        load_settings(["nrm=none", "dropout=2"])
    assert "did you mean 'norm'?" in str(caught.value)
    assert len(caught.value.problems) == 2


@pytest.mark.parametrize(
    ("overrides", "what"),
    [
        (["model.net=C8 / G F9"], "the net has 9 outputs, the data has 10 classes"),
        (["model.net=C8"], "the net ends with a map of 8x8x8"),
        (["model.net=C8:p0:k9 / G F10"], "9x9 window does not fit"),
        (
            ['augment.transforms=[{name="CoarseDropout"}]'],
            "holes of up to 16x16 pixels do not fit images of 8x8",
        ),
        (["train.progressive.start_size=8"], "found 8, expected a size below that of square images: 8x8"),
        (
            ["model.net=C8 / F10", "train.progressive.start_size=6"],
            "with images of 6 pixels the net would have",
        ),
        (["model.net=C8:k7:p0 / G F10", "train.progressive.start_size=4"], "7x7 window does not fit"),
    ],
)
def test_recipe_does_not_fit_the_data(overrides: list[str], what: str) -> None:
    recipe = load("digits", overrides)
    with pytest.raises(RecipeError, match=what):
        analyze_recipe(recipe, dataset_info(recipe.data))


def test_suggestions() -> None:
    assert suggest("epoch", ["epochs", "seed"]) == "did you mean 'epochs'?"
    assert suggest("zzz", ["b", "a"]) == "choose from 'a', 'b'"
    assert suggest("zzz", []) == ""


@pytest.mark.parametrize(
    ("overrides", "description"),
    [
        (["train.epochs=2"], "Based on digits, with train.epochs = 2 (was 30)"),
        (
            ["train.batch_size=32", "model.bias=true"],
            "Based on digits, with model.bias = true (was auto) and train.batch_size = 32 (was 64)",
        ),
        (["augment=false", "train.epochs=2"], "Based on digits, with "),
        (["name=mine", "train.ema=0.9"], "Based on digits, with train.ema = 0.9 (was 0.0)"),
    ],
)
def test_another_setting_is_not_the_result_of_the_library(overrides: list[str], description: str) -> None:
    for recipe in (load("digits", overrides), with_overrides(load("digits"), overrides)):
        assert recipe.result == ""
        assert recipe.description.startswith(description)
        again = with_values(recipe, {"train.optimizer.lr": 0.5})
        assert again.description.startswith("Based on digits, with ")
        assert again.description.count("Based on") == 1
        assert "\n" not in with_values(recipe, {"data.source": "a\nb"}).description
        assert again.description.endswith("; then train.optimizer.lr = 0.5 (was 0.01)")


@pytest.mark.parametrize(
    "overrides",
    [[], ["seed=7"], ["train.epochs=30"], ["brief.min_accuracy=0.5"], ["name=mine"], ["train.device=cpu"]],
    ids=str,
)
def test_settings_that_stay_keep_the_result(overrides: list[str]) -> None:
    library, recipe = load("digits"), load("digits", overrides)
    assert library.result
    assert (recipe.description, recipe.result) == (library.description, library.result)


def test_texts_of_ones_own_stay() -> None:
    recipe = load("digits", ["train.epochs=2", "description=Mine", "result=97 %"])
    assert (recipe.description, recipe.result) == ("Mine", "97 %")


def test_notes_describe_a_step_and_not_the_recipes_that_extend_it(tmp_path: Path) -> None:
    (tmp_path / "step.toml").write_text(
        'extends = "digits"\n[notes]\ntarget = "99 %"\nresult = "98 %"\nanalysis = "Too small."\n'
    )
    (tmp_path / "next.toml").write_text(f'extends = "{tmp_path / "step.toml"}"\n[train]\nepochs = 2\n')
    step = load(str(tmp_path / "step.toml"))
    assert step.notes.model_dump() == {"target": "99 %", "result": "98 %", "analysis": "Too small."}
    assert step.table()["notes"] == step.notes.model_dump()
    # Without notes the table of a recipe is that of a recipe without the field.
    assert "notes" not in load(str(tmp_path / "next.toml")).table()
    shorter = with_values(step, {"train.epochs": 2})
    assert shorter.notes.model_dump() == {"target": "99 %", "result": "", "analysis": "Too small."}
    noted = with_values(step, {"notes.target": "97 %"})
    assert (noted.result, noted.notes.target) == (step.result, "97 %")
    with pytest.raises(RecipeError, match=r"notes\.anaylsis: unknown field"):
        load(str(tmp_path / "step.toml"), ["notes.anaylsis=mistaken"])


def test_a_file_that_is_complete_with_overrides_only(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('description = "Mine"\n[data]\nsource = "digits"\n[train]\nepochs = 1\n')
    assert load(str(path), ["model.net=C4 / G F10"]).description == "Mine"
