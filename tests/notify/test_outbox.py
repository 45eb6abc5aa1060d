import os
import sqlite3
import stat
from functools import partial

import pytest
from damage import change, foreign
from notify.far_side import NOW, alert

from otel_latency.notify.dedup import Group
from otel_latency.notify.outbox import Changes, Contents, Outbox
from otel_latency.notify.queue import Pending

ID = ("oncall", '{}:{alertname="A"}')
GROUP = Group({"alertname": "A"}, NOW, {"f": alert("A", stage="✓")}, told=frozenset("f"), told_at=NOW)


def pending(number):
    return Pending(number, *ID, NOW + number, number % 2 == 0, b"\x00data")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "notify.db"


@pytest.fixture
def reopen(path):
    """Close what was opened before, and open again: the outbox and what it holds."""
    opened = []

    def again():
        for each in opened:
            each.close()
        opened.append(Outbox(path))
        return opened[-1], opened[-1].open(NOW)

    yield again
    for each in opened:
        each.close()


def test_what_is_committed_is_read(reopen):
    """Groups and notifications come back as they were, the latter in order; what was removed does not."""
    outbox, contents = reopen()
    assert Contents({}, []) == contents
    outbox.commit(Changes({ID: GROUP, ("other", "key"): GROUP}, [pending(2), pending(1)]))
    outbox.commit(Changes({("other", "key"): None}, [pending(3)], [1]))
    outbox, contents = reopen()
    assert (Contents({ID: GROUP}, [pending(2), pending(3)]), "") == (contents, outbox.fault)


def test_all_or_nothing(reopen):
    """Of a transaction that fails nothing is kept."""
    outbox, _ = reopen()
    outbox.commit(Changes(added=[pending(1)]))
    with pytest.raises(sqlite3.IntegrityError):
        outbox.commit(Changes({ID: GROUP}, [pending(2), pending(1)]))
    assert Contents({}, [pending(1)]) == reopen()[1]


def test_replace(reopen):
    """The whole contents can be written anew."""
    outbox, _ = reopen()
    outbox.commit(Changes({("old", "key"): GROUP}, [pending(1)]))
    outbox.replace(Contents({ID: GROUP}, [pending(7)]))
    assert Contents({ID: GROUP}, [pending(7)]) == reopen()[1]


def test_rights(reopen, path):
    """Only the agent's user may read what alerts say, in the file or in its journal."""
    outbox, _ = reopen()
    outbox.commit(Changes({ID: GROUP}))
    modes = {each.name: stat.S_IMODE(each.stat().st_mode) for each in path.parent.iterdir()}
    assert {"notify.db": 0o600, "notify.db-wal": 0o600} == modes


def corrupt(path):
    data = bytearray(path.read_bytes())
    data[100:3000] = os.urandom(2900)
    path.write_bytes(data)


DAMAGES = {
    "overwritten": corrupt,
    "cut short": lambda path: os.truncate(path, 4096 + 100),
    "no database": lambda path: path.write_bytes(b"hello " * 1000),
    "of another program": foreign,
    "of other tables": partial(change, statement="DROP TABLE pending"),
    "of other groups": partial(change, statement="INSERT INTO told VALUES ('a', 'b', x'c1')"),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_damage(damage, reopen, path):
    """A damaged file is kept aside and told, and a new one works."""
    outbox, _ = reopen()
    outbox.commit(Changes({ID: GROUP}, [pending(number) for number in range(1, 200)]))
    outbox.close()
    damage(path)
    outbox, contents = reopen()
    assert Contents({}, []) == contents
    assert "the outbox was damaged" in outbox.fault
    assert "notify.db.corrupt-1700000000" in outbox.fault
    assert (path.parent / "notify.db.corrupt-1700000000").exists()
    outbox.commit(Changes(added=[pending(1)]))
    outbox, contents = reopen()
    assert ([pending(1)], "") == (contents.pending, outbox.fault)


def test_two_damaged_files_are_kept(path):
    """The oldest of three goes."""
    for when in (NOW, NOW + 1, NOW + 2):
        path.write_bytes(b"hello " * 1000)
        outbox = Outbox(path)
        outbox.open(when)
        outbox.close()
    assert {"notify.db.corrupt-1700000001", "notify.db.corrupt-1700000002"} == {
        each.name for each in path.parent.iterdir() if "corrupt" in each.name
    }


def test_one_owner(reopen, path):
    """A second process does without the file, rather than sending everything twice."""
    first, _ = reopen()
    first.commit(Changes(added=[pending(1)]))
    second = Outbox(path)
    assert Contents({}, []) == second.open(NOW)
    assert "the outbox cannot be opened (database is locked)" in second.fault
    second.commit(Changes(added=[pending(1)]))
    second.close()
    assert [pending(1)] == reopen()[1].pending


def test_no_folder(tmp_path):
    """Where no file can be made the outbox lives in memory, and says so."""
    outbox = Outbox(tmp_path / "missing" / "notify.db")
    assert Contents({}, []) == outbox.open(NOW)
    assert outbox.fault.endswith("notifications do not survive a restart")
    outbox.commit(Changes({ID: GROUP}, [pending(1)]))
    outbox.close()
    outbox.close()
