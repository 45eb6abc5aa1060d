"""What had reached a disk when the power went, by copying its image while the writer is stopped."""

import random

import pytest
from chaos.power_cut import NoLoopError, cut

CUTS = 4


def test_power_cuts(tmp_path):
    """Everything that was acknowledged had reached the disk, and the rest is not taken for damage."""
    rng = random.Random(5)
    try:
        results = [cut(tmp_path, rng.uniform(0.05, 0.3)) for _ in range(CUTS)]
    except NoLoopError as error:
        pytest.skip(str(error))
    assert [([], [], "")] * CUTS == [(one.lost, one.invented, one.fault) for one in results]
    assert all(one.acknowledged for one in results)


def test_without_fsync(tmp_path):
    """The control: without fsync nearly all of it is lost."""
    try:
        result = cut(tmp_path, 0.2, "--without-fsync")
    except NoLoopError as error:
        pytest.skip(str(error))
    assert result.lost
