"""Pictures under their maps."""

from __future__ import annotations

import numpy as np

from vlp.explain.overlay import overlay, strip


def test_what_speaks_for_is_green_and_what_speaks_against_is_red() -> None:
    heat = np.zeros((4, 4), np.float32)
    heat[0, 0], heat[3, 3] = 2.0, -1.0
    shown = overlay(np.full((16, 16, 3), 100, np.uint8), heat, least_side=64).astype(int)
    assert shown.shape == (64, 64, 3)
    assert shown[4, 4, 1] > shown[4, 4, 0] + 50
    assert shown[60, 60, 0] > shown[60, 60, 1] + 20
    assert np.ptp(shown[4, 60]) == 0  # untouched: grey


def test_a_map_of_nothing_leaves_the_picture_grey() -> None:
    shown = overlay(np.full((16, 16, 3), 100, np.uint8), np.zeros((4, 4), np.float32), least_side=16)
    assert (shown == 100).all()


def test_tiles_stand_in_rows_with_their_words() -> None:
    tile = np.zeros((8, 8, 3), np.uint8)
    sheet = strip([("a", tile), ("a word that is far too long for its tile", tile), ("b", tile)], side=32, columns=2)
    assert sheet.shape == (2 * (32 + 18 + 6) + 6, 2 * 38 + 6, 3)
    assert (sheet[6:38, 6:38] == 0).all() and (sheet[:6] == 255).all()
    assert (sheet[38:56, :38] < 255).any()  # its word
