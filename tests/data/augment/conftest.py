"""Fixtures of augmentation tests."""

import pytest

from helpers.augmentation import Make, made


@pytest.fixture(params=["batched", "albumentations"])
def make(request: pytest.FixtureRequest) -> Make:
    return lambda *transforms, **arguments: made(request.param, *transforms, **arguments)
