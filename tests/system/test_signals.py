"""Signals as requests to stop."""

import os
import signal

import pytest

from convsmith.system.signals import STOP_SIGNALS, stop_on_signals


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGXCPU"])
def test_a_signal_is_a_request_to_stop(name: str) -> None:
    number = getattr(signal, name)
    assert number in STOP_SIGNALS
    # `nohup` and shells in the background let some be ignored.
    usual = signal.signal(number, signal.SIG_DFL)
    try:
        with stop_on_signals() as stop:
            assert stop.signal == 0
            os.kill(os.getpid(), number)
            os.kill(os.getpid(), signal.SIGUSR1)
            assert stop.signal == number
        assert signal.getsignal(number) is signal.SIG_DFL
    finally:
        signal.signal(number, usual)
