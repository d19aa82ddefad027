"""Fixtures of augmentation tests."""

import pytest

from helpers.augmentation import Factory, make_augmentation


@pytest.fixture(params=["batched", "albumentations"])
def make(request: pytest.FixtureRequest) -> Factory:
    return lambda *transforms, **arguments: make_augmentation(request.param, *transforms, **arguments)
