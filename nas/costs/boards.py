"""Microcontroller boards by name, with the flash and RAM that their makers state; sources stand in docs/devices.md."""

from __future__ import annotations

from typing import NamedTuple

from nas.errors import UsageError, near_misses

_KIB = 1024


class Board(NamedTuple):
    """What a board has in all; a program's other parts share it."""

    flash: int  # bytes
    ram: int  # bytes


BOARDS = {
    "microbit": Board(256 * _KIB, 16 * _KIB),
    "microbit-v2": Board(512 * _KIB, 128 * _KIB),
    "nano33ble": Board(1024 * _KIB, 256 * _KIB),
    "pico": Board(2048 * _KIB, 264 * _KIB),
    "bluepill": Board(64 * _KIB, 20 * _KIB),
}


def board_of(name: str) -> Board:
    """Return the board called `name`.

    Raises:
        UsageError: there is none.
    """
    if name not in BOARDS:
        raise UsageError(
            f"unknown `board` {name!r}; {near_misses(name, BOARDS)}; or give its memory by `max_flash` and `max_ram`"
        )
    return BOARDS[name]


def limits_of(board: str | None, max_flash: int | None, max_ram: int | None) -> dict[str, int | None]:
    """Return `max_flash` and `max_ram` as given, or else those of a board. Raises UsageError as `board_of` does."""
    if board is None:
        return {"max_flash": max_flash, "max_ram": max_ram}
    found = board_of(board)
    return {"max_flash": max_flash or found.flash, "max_ram": max_ram or found.ram}
