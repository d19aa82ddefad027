"""Names of splits: every spelling, with every prefix and suffix; names of classes are no splits."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convsmith.data.splits import Role, choose_splits, is_container_name, is_split_name, role_of
from convsmith.errors import DataError

TRAIN = [
    "train",
    "training",
    "train_set",
    "training_set",
    "trainset",
    "seg_train",
    "Train",
    "TRAIN",
    "trainData",
]
TRAIN += [
    "train2017",
    "train_2017",
    "2019-train",
    "train images",
    "training.data",
    "mnist_train",
    "trn",
    "Train_01",
]
TEST = [
    "test",
    "testing",
    "test_set",
    "testset",
    "seg_test",
    "Testing",
    "TEST",
    "test2017",
    "test-images",
    "eval",
]
TEST += ["testData", "test set", "evaluation", "asl_alphabet_test", "images_test", "test_labeled"]
VALIDATION = ["val", "valid", "validation", "dev", "Validation", "VAL", "val2017", "validation_set", "valset"]
VALIDATION += ["dev-set", "development", "valid_data", "imagenet-val", "valDataset"]
ASIDE = [
    "unlabelled",
    "unlabeled",
    "un-labeled",
    "unsupervised",
    "extra",
    "train_augmented",
    "train-aug",
    "holdout",
]
ASIDE += [
    "hold_out",
    "seg_pred",
    "pred",
    "predictions",
    "submission",
    "trainval",
    "train_val",
    "Unlabeled2011",
]
ASIDE += ["extra_train", "test_pred", "augmented training", "train_unlabelled", "test_unlabeled"]
CLASSES = [
    "cat",
    "steam",
    "trainer",
    "attest",
    "testament",
    "valley",
    "devil",
    "contest",
    "evaluator",
    "0",
    "猫",
]
CLASSES += ["value", "strain", "validus", "latest", "extract", "spread"]


@pytest.mark.parametrize(
    ("names", "role"),
    [(TRAIN, "train"), (TEST, "test"), (VALIDATION, "validation"), (ASIDE, "aside"), (CLASSES, None)],
)
def test_roles(names: list[str], role: Role | None) -> None:
    assert {name: role_of(name) for name in names} == dict.fromkeys(names, role)


@given(
    word=st.sampled_from(
        ["train", "training", "test", "testing", "val", "valid", "validation", "dev", "unlabelled"]
    ),
    case=st.sampled_from([str.lower, str.upper, str.title]),
    prefix=st.sampled_from(["", "seg_", "2019-", "my ", "the.", "数字_"]),
    suffix=st.sampled_from(["", "_set", "-2017", " images", "2", "_(1)", "-00000-of-00005"]),
)
def test_case_prefix_and_suffix_do_not_matter(word: str, case: object, prefix: str, suffix: str) -> None:
    assert callable(case)
    assert role_of(prefix + case(word) + suffix) == role_of(word)


def test_names_of_splits_and_of_classes_with_a_word_of_a_split() -> None:
    for name in ("train", "Test (1)", "seg_pred", "hold out", "unlabelled images", "val_small", "train2"):
        assert is_split_name(name), name
    for name in ("steam train", "test tube", "bullet_train", "cat", "valley", "train station"):
        assert not is_split_name(name), name
    assert all(map(is_container_name, ("images", "Images 2", "JPEGImages", "data")))
    assert not is_container_name("cat images")


def test_a_split_is_chosen_only_if_it_is_the_only_one() -> None:
    chosen = choose_splits({"a/train": "train", "a/val": "validation", "a/extra": "aside"}, {}, "set")
    assert chosen.by_role() == {"train": "a/train", "test": "a/val"}
    assert chosen.test_is_validation
    chosen = choose_splits({"train": "train", "val": "validation", "test": "test"}, {}, "set")
    assert chosen.by_role() == {"train": "train", "test": "test"}
    assert not chosen.test_is_validation
    for names in (["train", "Train"], ["train", "val", "validation"], ["train", "test", "Testing"]):
        with pytest.raises(DataError, match=r"found 2 \w+ splits") as caught:
            choose_splits({name: role_of(name) for name in names}, dict.fromkeys(names, 3), "set")
        assert f"{names[-1]} (3 images)" in str(caught.value)
        assert "data.splits.train=" in str(caught.value)
    chosen = choose_splits({"flowers": None, "dev": "validation"}, {}, "set")
    assert chosen.by_role() == {"train": "flowers", "test": "dev"}
    assert "training set is flowers" in chosen.notes[0]
    assert not choose_splits({"flowers": None}, {}, "set").notes
    with pytest.raises(DataError, match="found the splits one, two, expected"):
        choose_splits({"one": None, "two": None}, {}, "set")
    with pytest.raises(DataError, match=r"expected one named train.*\n.*add the training set, or name one"):
        choose_splits({"test": "test", "val": "validation"}, {}, "set")
    # A file that was not downloaded, as of MNIST's four.
    with pytest.raises(DataError, match=r'and test on the rest: data\.splits\.train="t10k"'):
        choose_splits({"t10k": "test"}, {}, "set")
