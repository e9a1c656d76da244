"""Ctrl-C at a moment when nothing is half done."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any


class Interrupts:
    """Makes Ctrl-C wait inside a ``with`` block, until ``raise_if_asked`` is called; a second one does not.

    Elsewhere than in the main thread, and where the program has a handler of its own, nothing changes.

    Attributes:
        urgent: whether Ctrl-C was pressed twice, so that what is under way is not to be trusted.
    """

    def __init__(self) -> None:
        self._asked, self.urgent = False, False
        self._handler: Any = None

    def __enter__(self) -> Interrupts:
        usual = signal.getsignal(signal.SIGINT) is signal.default_int_handler
        if usual and threading.current_thread() is threading.main_thread():
            self._handler = signal.signal(signal.SIGINT, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._handler is not None:
            signal.signal(signal.SIGINT, self._handler)

    def raise_if_asked(self) -> None:
        """Raise the KeyboardInterrupt that has waited."""
        if self._asked:
            raise KeyboardInterrupt

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self._asked:
            self.urgent = True
            raise KeyboardInterrupt
        self._asked = True
