import gzip
import itertools
import random
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from store.past import LLM, NOW, count, fill, minute, turn, write, write_turns

from otel_latency.store import schema, states
from otel_latency.store.salvage import SECONDS, salvage
from otel_latency.store.schema import PAGE_BYTES, TABLES, open_file

ROWS = 20_000
VERSION_1 = Path(__file__).parents[1] / "testdata" / "store" / "history-1.db.gz"


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """The bytes of a sound file with many operations and some minutes."""
    path = tmp_path_factory.mktemp("sound") / "history.db"
    connection = open_file(path)
    fill(connection, ROWS)
    write(connection, [minute(number, [1.0], LLM) for number in range(100)])
    connection.close()
    return path.read_bytes()


def rescued(data, folder, clock=lambda: 0.0):
    (folder / "damaged.db").write_bytes(data)
    connection = open_file(folder / "new.db")
    saved = salvage(folder / "damaged.db", connection, TABLES, clock)
    counts = {table: count(connection, table) for table in TABLES}
    schema.check(connection)
    connection.close()
    return saved, counts


def test_everything_of_a_sound_file(sound, tmp_path):
    """Every row comes over, with its id."""
    saved, counts = rescued(sound, tmp_path)
    assert (ROWS, 100, 1) == (counts["operations"], counts["minutes"], counts["series"])
    assert saved == sum(counts.values())


@pytest.mark.parametrize("seed", range(8))
def test_a_lost_page(sound, tmp_path, seed):
    """A page of the middle that is overwritten costs few rows beside its own."""
    rng = random.Random(seed)
    data = bytearray(sound)
    page = rng.randrange(40, len(data) // PAGE_BYTES)
    data[page * PAGE_BYTES : (page + 1) * PAGE_BYTES] = rng.randbytes(PAGE_BYTES)
    assert ROWS + 100 - 200 <= rescued(bytes(data), tmp_path)[0]


def test_beside_a_lost_page(sound, tmp_path):
    """Every operation of which the page can be read comes over."""
    (tmp_path / "sound.db").write_bytes(sound)
    with closing(sqlite3.connect(tmp_path / "sound.db")) as database:
        query = "SELECT pageno, ncell FROM dbstat WHERE name = 'operations' AND pagetype = 'leaf' ORDER BY path"
        pages = database.execute(query).fetchall()
    for page, rows in (pages[0], pages[len(pages) // 2], pages[-2], pages[-1]):
        data = bytearray(sound)
        data[(page - 1) * PAGE_BYTES : page * PAGE_BYTES] = bytes(PAGE_BYTES)
        folder = tmp_path / str(page)
        folder.mkdir()
        assert ROWS - rows == rescued(bytes(data), folder)[1]["operations"]


def test_a_page_that_leads_back(sound, tmp_path):
    """A damaged pointer to what was read before costs the pages that it hides, and no turn in a circle."""
    (tmp_path / "sound.db").write_bytes(sound)
    with closing(sqlite3.connect(tmp_path / "sound.db")) as database:
        query = "SELECT pageno, pagetype, ncell FROM dbstat WHERE name = 'operations' ORDER BY path"
        (root, _, _), *leaves = database.execute(query).fetchall()
    data = bytearray(sound)
    cell = (root - 1) * PAGE_BYTES + int.from_bytes(data[(at := (root - 1) * PAGE_BYTES + 12 + 2 * 50) : at + 2])
    assert leaves[50][0] == int.from_bytes(data[cell : cell + 4])
    data[cell : cell + 4] = leaves[10][0].to_bytes(4)
    lost = leaves[51][0]
    data[(lost - 1) * PAGE_BYTES : lost * PAGE_BYTES] = bytes(PAGE_BYTES)
    seconds = itertools.count(step=SECONDS / 200)
    assert (
        ROWS - leaves[50][2] - leaves[51][2] == rescued(bytes(data), tmp_path, lambda: next(seconds))[1]["operations"]
    )


def test_an_id_that_is_damaged(sound, tmp_path):
    """A row that claims to come later takes the place of the one whose id it has, and hides none but that."""
    (tmp_path / "sound.db").write_bytes(sound)
    with closing(sqlite3.connect(tmp_path / "sound.db")) as database:
        query = "SELECT pageno, ncell FROM dbstat WHERE name = 'operations' AND pagetype = 'leaf' ORDER BY path"
        page, rows = database.execute(query).fetchall()[100]
    data = bytearray(sound)
    start = (page - 1) * PAGE_BYTES
    pointer = start + 8 + 2 * (rows - 1)
    cell = start + int.from_bytes(data[pointer : pointer + 2])
    assert data[cell] < 0x80 <= data[cell + 1], "a length of one byte, and an id of more"
    data[cell + 1] += 1
    assert ROWS - 1 == rescued(bytes(data), tmp_path)[1]["operations"]


@pytest.mark.parametrize("size", [0, 100, PAGE_BYTES, 100 * PAGE_BYTES + 17])
def test_a_file_cut_short(sound, tmp_path, size):
    """Whatever is left, the new file is sound."""
    rescued(sound[:size], tmp_path)


def test_no_database(tmp_path):
    """Of other bytes nothing comes over."""
    assert 0 == rescued(b"hello " * 1000, tmp_path)[0]


def test_an_older_version(sound, tmp_path):
    """Tables that had other columns then are passed over, the others saved."""
    (tmp_path / "damaged.db").write_bytes(gzip.decompress(VERSION_1.read_bytes()))
    _, counts = rescued(gzip.decompress(VERSION_1.read_bytes()), tmp_path)
    assert (0, 1, 1, 1) == tuple(counts[table] for table in ("operations", "minutes", "counters", "alerts"))


def test_turns_and_states(tmp_path):
    """Turns are saved with their sessions, and states."""
    connection = open_file(tmp_path / "sound.db")
    write_turns(connection, *(turn(NOW - number, number=number, session="s") for number in range(100)))
    states.write(connection, "predictor", b"state", NOW)
    connection.close()
    _, counts = rescued((tmp_path / "sound.db").read_bytes(), tmp_path)
    assert (100, 1, 1, 1) == tuple(counts[table] for table in ("turns", "sessions", "profiles", "states"))


def test_it_takes_its_time_and_no_more(sound, tmp_path):
    """When time is up the rest is left; what matters most came first."""
    seconds = itertools.count(step=SECONDS / 5)
    _, counts = rescued(sound, tmp_path, lambda: next(seconds))
    assert (1, 100) == (counts["series"], counts["minutes"])
    assert counts["operations"] < ROWS
