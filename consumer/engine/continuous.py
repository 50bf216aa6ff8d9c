"""Pictures that run together though each is at a step of its own: one that comes joins at the next step, and one that
is done leaves, so that four steps never wait for twenty.

Each picture has the stock pipeline run for it alone, from its prompt to its pixels, with a scheduler of its own: what
it computes is what it computes alone, for every family. Only the heavy calls, of the denoiser and of the decoder, stop
on the way; those that have stopped are made as one call. All of it is one thread: the runs take turns.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from greenlet import getcurrent, greenlet

from consumer.engine.contract import Company, Row
from consumer.engine.merging import Call, call_together, groups_of

__all__ = ["Drawn", "run_together", "stand_in"]

_Image = npt.NDArray[np.float32]
_Draw = Callable[[Row, Callable[[int], None]], _Image]

_HEAVY = {"unet": "__call__", "transformer": "__call__", "vae": "decode"}
"""What of a pipeline is called for all rows at once."""


class Drawn:
    """A row whose run has ended. ``image``: height x width x 3, from 0 to 1; or what the run raised. ``seconds``: from
    when it joined."""

    def __init__(self, row: Row, image: _Image | Exception, seconds: float) -> None:
        self.row = row
        self.image = image
        self.seconds = seconds


def stand_in(pipeline: Any) -> Any:
    """The pipeline as one row has it: the weights are shared, what a run remembers is its own."""
    own = copy.copy(pipeline)
    for name, method in _HEAVY.items():
        part = pipeline.components.get(name)
        if part is not None:
            # Not by the pipeline's own setter, which would look up where the part was imported from.
            vars(own)[name] = _Shared(part, method)
    return own


def run_together(rows: Sequence[Row], company: Company, draw: _Draw, finish: Callable[[Drawn], None]) -> None:
    """Make these rows, and those that join them, until none is left.

    ``draw(row, on_step)`` makes the picture of a row, by a ``stand_in``. What it raises is the row's own, and goes to
    ``finish``; an exception of a call that several share is nobody's: it is raised, and ends them all.
    """
    running: list[_Run] = []
    # Around all: each run switches gradients off and on again for itself, and they interleave.
    with torch.no_grad():
        try:
            while True:
                # Before those that come are made ready: somebody waits for these. Also what is called off only now: its
                # steps are done, and it may as well be had.
                _advance(running, closing=True)
                running = _ended(running, finish)
                running += [_Run(row, draw) for row in rows]
                running = _staying(_ended(running, finish), company)
                before = {one: one.steps for one in running}
                _advance(running, closing=False)
                company.stepped({one.row.item.id: one.steps for one in running if one.steps > before[one]})
                if not running:
                    return
                rows = company.joined()
        finally:
            for one in running:
                one.abandon()


class _Shared:
    """Stands in a pipeline for a part of it: a call waits until the loop has made it."""

    def __init__(self, part: Any, method: str) -> None:
        self._part = part
        self._method = method

    # Pipelines ask what kind of autoencoder or denoiser they have.
    __class__ = property(lambda self: type(self._part))

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        return _wait_for(Call(self._part, arguments, named))

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._part, name)
        if name != self._method:
            return found
        return lambda *arguments, **named: _wait_for(Call(found, arguments, named, closing=True))


def _wait_for(call: Call) -> Any:
    loop = getcurrent().parent
    assert loop is not None  # noqa: S101 - a stand-in is called in a run, which the loop has started
    return loop.switch(call)


class _Run:
    """The run of one row's pipeline; made, it has got to its first heavy call, or to its end."""

    def __init__(self, row: Row, draw: _Draw) -> None:
        self.row = row
        self.steps = 0
        self.image: _Image | Exception | None = None
        self.call: Call | None = None
        self.began = time.monotonic()
        self._draw = draw
        self._greenlet = greenlet(self._run)
        self.go_on()

    def go_on(self, *found: Any) -> None:
        """Give it what its call returned, and have it run up to the next."""
        call = self._greenlet.switch(*found)
        self.call = None if self._greenlet.dead else call

    def abandon(self) -> None:
        """It ends where it is; its memory is free."""
        if not self._greenlet.dead:
            self._greenlet.throw()
        self.call = None

    def _run(self) -> None:
        try:
            self.image = self._draw(self.row, self._on_step)
        except Exception as error:
            self.image = error

    def _on_step(self, step: int) -> None:
        self.steps = step


def _ended(running: Sequence[_Run], finish: Callable[[Drawn], None]) -> list[_Run]:
    """Without those that have ended, which are handed on."""
    for one in running:
        if one.image is not None:
            finish(Drawn(one.row, one.image, time.monotonic() - one.began))
    return [one for one in running if one.image is None]


def _staying(running: Sequence[_Run], company: Company) -> list[_Run]:
    """Without those that nobody wants any more."""
    staying = []
    for one in running:
        if company.is_canceled(one.row.item.id):
            one.abandon()
            company.left(one.row.item.id, one.steps)
        else:
            staying.append(one)
    return staying


def _advance(running: Sequence[_Run], *, closing: bool) -> None:
    """Make the calls that these wait for, of the one sort."""
    waiting = {one.call: one for one in running if one.call is not None and one.call.closing is closing}
    for group in groups_of(waiting):
        for call, found in zip(group, call_together(group), strict=True):
            waiting[call].go_on(found)
