"""What texts and outputs say, and how it compares with what was measured."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from convsmith.grading.claim_patterns import statements_in
from convsmith.grading.claims import Measured, claims_of
from convsmith.grading.curves import curves_in
from convsmith.grading.files import files_of
from convsmith.grading.lines import Line, lines_of
from convsmith.grading.notes import notes_of
from convsmith.grading.record import ClaimRecord

TEST = "Test set: Average loss: 0.0312, Accuracy: {}/10000 ({:.2f}%)"


def prose(*texts: str, file: str = "README.md") -> list[Line]:
    return [
        Line(file=file, place=f"line {number}", kind="prose", text=text)
        for number, text in enumerate(texts, start=1)
    ]


def output(*texts: str, file: str = "S7.ipynb", cell: int = 9) -> list[Line]:
    return [Line(file=file, place=f"output of cell {cell}", kind="output", text=text) for text in texts]


def log(*correct: int) -> list[Line]:
    return output(*(TEST.format(each, each / 100) for each in correct))


@pytest.mark.parametrize(
    ("text", "quantity", "value"),
    [
        ("Total params: 7,624", "parameters", 7624),
        ("- **Parameters**: 7,624", "parameters", 7624),
        ("Total Parameters - 9926", "parameters", 9926),
        ("Number of parameters: 13.5k", "parameters", 13500),
        ("The model has 6,379,786 parameters and overfits", "parameters", 6379786),
        ("* Best Test Accuracy : 99.48%", "test accuracy", 0.9948),
        ("Test Acc: 0.9946", "test accuracy", 0.9946),
        ("Validation accuracy of 82.1 %", "test accuracy", 0.821),
        ("Final receptive field is 28x28", "receptive field", 28),
        ("Receptive Field: 32", "receptive field", 32),
        ("- No of Epochs : 15", "epochs", 15),
        ("Batch size = 128", "batch size", 128),
    ],
)
def test_a_sentence_has_a_number(text: str, quantity: str, value: float) -> None:
    (statement,) = statements_in(prose(text))
    assert statement.quantity == quantity
    assert statement.value == pytest.approx(value)


@pytest.mark.parametrize(
    "text",
    [
        "The model must have less than 8,000 parameters",
        "Target: 99.4 % test accuracy with at most 8000 parameters",
        "Get to 99.4% test accuracy within 15 epochs",
        "Best train accuracy: 99.12",
        "I reduced the parameters from 13,000 to 7,624 parameters",
        "4. To achieve 70% test accuracy",
        "Params size (MB): 0.03",
        "Non-trainable params: 0",
        "num_params = 3",
        "3 parameters of the optimizer",
    ],
)
def test_aims_and_other_numbers_are_no_claims(text: str) -> None:
    assert list(statements_in(prose(text))) == []


def test_a_table_is_read_by_its_header() -> None:
    table = (
        "| Model | #Params | RF | Receptive field | Train acc | Test accuracy |",
        "|---|---|---|---|---|---|",
    )
    lines = prose(*table, "| 1 | 13,584 | - | 22 | 99.3 | 98.80 |", "| 2 | 7.4k | - | 28 | 99.0 | 99.1 % |")
    found = [(each.quantity, each.shown) for each in statements_in(lines)]
    assert found == [
        ("parameters", "13,584"),
        ("receptive field", "22"),
        ("test accuracy", "98.80"),
        ("parameters", "7.4k"),
        ("receptive field", "28"),
        ("test accuracy", "99.1"),
    ]


def test_the_course_of_a_training() -> None:
    bar = "Loss=0.0213 Batch_id=468 Accuracy={}: 100%|##########| 469/469 [00:17<00:00, 26.80it/s]"
    lines = output(
        "EPOCH: 1", bar.format("91.20"), TEST.format(9800, 98), "Test Accuracy: 98.0. Saving the model"
    )
    lines += output("EPOCH: 2", bar.format("98.13"))
    lines += output(TEST.format(9912, 99.12), "EPOCH: 1", TEST.format(9700, 97), TEST.format(9710, 97.1))
    first, second = curves_in(lines)
    assert [(each.epoch, each.test) for each in first.epochs] == [(1, 0.98), (2, 0.9912)]
    assert [each.train for each in first.epochs] == pytest.approx([0.912, 0.9813])
    assert second.tests == [0.97, 0.971]


@pytest.mark.parametrize(
    "text",
    [
        "Epoch: {epoch} | train_loss: 0.1 | train_acc: 0.9712 | test_loss: 0.05 | test_acc: 0.9{epoch}",
        "epoch [{epoch}] train accuracy 97.12 : test accuracy 9{epoch}",
        "Epoch: {epoch}, Train Loss: 0.1, Test Loss: 0.1, Train Accuracy: 97.12, Test Accuracy: 9{epoch}.0",
    ],
)
def test_other_forms_of_a_course(text: str) -> None:
    (curve,) = curves_in(output(*(text.format(epoch=epoch) for epoch in (1, 2, 3))))
    assert curve.tests == pytest.approx([0.91, 0.92, 0.93])
    assert curve.epochs[0].train == pytest.approx(0.9712)


def compared(lines: Sequence[Line], measured: Measured) -> list[tuple[str, str, str, str]]:
    return [(each.quantity, each.claim, each.measured, each.result) for each in claims_of(lines, measured)[0]]


def test_parameters() -> None:
    measured = Measured(
        parameters={"model.py:Net": 7624}, repeated={"model.py:Net": 8000}, others={"old.py:Net": 13584}
    )
    texts = "Total params: 7,624", "Parameters: 7.6k", "Total params: 13,584", "Total params: 9,999"
    claims = claims_of(prose(*texts, "Total params: 8,000"), measured)[0]
    assert {each.claim: (each.result, each.note) for each in claims} == {
        "7,624": ("equal", ""),
        "7.6k": ("equal", ""),
        "13,584": ("differs", "it is the number of old.py:Net"),
        "9,999": ("differs", "no net in the files has this number"),
        "8,000": ("equal", "torchsummary counts a layer as often as it is called"),
    }
    # What differs comes first.
    assert [each.result for each in claims] == ["differs"] * 2 + ["equal"] * 3


def test_accuracy_of_weights() -> None:
    measured = Measured(scores={"model.py:Net": (0.9941, 10_000)})
    lines = prose("Test accuracy: 99.41 %", "Best test accuracy: 99.48 %")
    assert compared(lines, measured) == [
        ("test accuracy", "99.48 %", "99.41 %", "differs"),
        ("test accuracy", "99.41 %", "99.41 %", "equal"),
    ]


def claim_of(lines: Sequence[Line], value: str, measured: Measured | None = None) -> ClaimRecord:
    return next(each for each in claims_of(lines, measured or Measured())[0] if each.claim == value)


def test_an_accuracy_that_is_not_that_of_the_last_epochs() -> None:
    lines = [*log(9800, 9946, 9930, 9921, 9919, 9925), *prose("Test accuracy: 99.46 %")]
    note = claim_of(lines, "99.46 %").note
    assert note == (
        "reached in epoch 2 of 6 (S7.ipynb, output of cell 9); the last 4: 99.30 %, 99.21 %, 99.19 %, 99.25 %"
    )
    assert "the last 4 of 6 epochs" in claim_of(lines, "99.25 %").note
    unknown = claim_of([*lines, *prose("Test accuracy: 99.99 %")], "99.99 %")
    assert unknown.note == "no log and no output has this accuracy"


def test_weights_of_an_earlier_epoch() -> None:
    claim = claim_of(log(9800, 9946, 9930), "99.30 %", Measured(scores={"a.py:Net": (0.9946, 10_000)}))
    assert claim.result == "equal"
    assert claim.note.startswith("the weights are those of epoch 2")


def test_a_training_anew_may_differ_by_chance() -> None:
    measured = Measured(trained={"a.py:Net": (0.9940, 10_000)})
    assert compared(prose("Test accuracy: 99.46 %"), measured)[0][3] == "equal"
    assert compared(prose("Test accuracy: 99.91 %"), measured)[0][3] == "differs"
    assert compared(prose("Test accuracy: 91.00 %"), measured)[0][3] == "equal"


def test_receptive_field_and_epochs() -> None:
    lines = [*log(9800, 9900, 9910), *prose("Receptive field: 28", "Epochs: 15")]
    assert compared(lines, Measured(fields={"a.py:Net": 22}))[:2] == [
        ("receptive field", "28", "22", "differs"),
        ("epochs", "15", "3", "differs"),
    ]


def test_notes_of_steps() -> None:
    lines = prose(
        "# Model_1", "**Target:**", "Fewer weights", "**Result:** 7,624", "# Model_2", "## Target", "Dropout"
    )
    assert notes_of(lines) == [
        {"target": "Fewer weights", "result": "7,624 # Model_2"},
        {"target": "Dropout"},
    ]
    assert notes_of(prose("Test accuracy: 99 %")) == []


@pytest.mark.parametrize("text", ["0k parameters", "0.0M params", f"Total params: {'9' * 400}k"])
def test_numbers_that_no_net_has(text: str) -> None:
    assert claims_of(prose(text), Measured(parameters={"model.py:Net": 7624}))[0] == ()


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_logs_and_texts_of_windows(encoding: str, tmp_path: Path) -> None:
    table = "| model | params |\r\n|---|---|\r\n| 3 | 7,624 |\r\n"
    (tmp_path / "README.md").write_bytes(table.encode(encoding))
    lines = lines_of(tmp_path, files_of(tmp_path))
    assert [each.shown for each in statements_in(lines)] == ["7,624"]
