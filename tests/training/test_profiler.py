"""The profile of a training."""

from convsmith.recipes.loader import load
from convsmith.recipes.session import Session
from convsmith.training.profiler import PHASES, Profile
from helpers.trained import trained


def test_profile_has_every_phase() -> None:
    profile = Profile(enabled=True)
    session = Session.load(load("digits", ["train.epochs=1", "model.net=C4 / G F10"]))
    trained(session.recipe, profile=profile)
    assert set(profile.seconds) == set(PHASES) - {"teacher"}
    assert all(seconds > 0 for seconds in profile.seconds.values())
    silent = Profile()
    trained(session.recipe, profile=silent)
    assert not silent.seconds
