import gzip
import os
import shutil

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from station_agent.follow import RESCAN_S, SETTLED_S, Follower
from tests.station_agent.picarro_text import HEADER, START, row, text


class Reader:
    """A follower on a clock of its own, restarted at will, and what it has read."""

    def __init__(self, pattern):
        self.pattern = pattern
        self.now = 2 * 10**9
        self.stored = {}
        self.seconds = []
        self.rejected = []
        self.restart()

    def restart(self):
        self.follower = Follower(
            str(self.pattern),
            driver="picarro",
            options={},
            positions=self.stored,
            clock=lambda: self.now,
            monotonic=lambda: self.now,
        )

    def read(self, *, rescan=False):
        """Read all there is; return the seconds of the samples that came."""
        fresh = []
        while (chunk := self.follower.read(rescan=rescan)) is not None:
            fresh += [sample.time_ns // 10**9 - START for sample in chunk.parsed.samples]
            self.rejected += [(chunk.file, aside.rejected) for aside in chunk.parsed.asides]
            self.stored |= chunk.positions
            self.stored = {name: state for name, state in self.stored.items() if state is not None}
        self.seconds += fresh
        return fresh


@pytest.fixture
def reader(tmp_path):
    return Reader(tmp_path / "DataLog_User_*.dat")


def log_file(folder, number):
    return folder / f"DataLog_User_{number}.dat"


def append(path, lines):
    with path.open("a") as file:
        file.write(lines)


def test_files_are_read_in_the_order_of_their_names_and_the_last_is_followed(tmp_path, reader):
    log_file(tmp_path, 2).write_text(text(10, 20))
    log_file(tmp_path, 1).write_text(text(0, 10))
    assert reader.read() == list(range(20))
    append(log_file(tmp_path, 2), row(20) + "\n")
    assert reader.read() == [20]
    log_file(tmp_path, 3).write_text(text(21, 23))
    reader.now += RESCAN_S
    assert reader.read() == [21, 22]
    assert reader.read() == []


def test_a_half_written_line_is_waited_for(tmp_path, reader):
    path = log_file(tmp_path, 1)
    path.write_text(text(0, 2) + row(2)[:100])
    assert reader.read() == [0, 1]
    assert reader.follower.unfinished == {path.name: 100}
    append(path, row(2)[100:])
    assert reader.read() == []
    append(path, "\n")
    assert reader.read() == [2]
    assert reader.rejected == []


def test_a_header_that_is_not_complete_yet_is_waited_for(tmp_path, reader):
    path = log_file(tmp_path, 1)
    path.write_text(HEADER[:30])
    assert reader.read() == []
    append(path, HEADER[30:] + "\n" + row(0) + "\n")
    assert reader.read() == [0]
    assert reader.rejected == []


def test_an_unfinished_line_of_a_file_that_has_a_successor_is_rejected_once_it_is_settled(tmp_path, reader):
    log_file(tmp_path, 1).write_text(text(0, 2) + row(2)[:100])
    log_file(tmp_path, 2).write_text(text(3, 4))
    os.utime(log_file(tmp_path, 1), (reader.now, reader.now))
    assert reader.read() == [0, 1, 3]
    assert reader.rejected == []
    reader.now += SETTLED_S + 1
    reader.read()
    ((file, rejected),) = reader.rejected
    assert (file, rejected.line, rejected.text) == ("DataLog_User_1.dat", 4, row(2)[:100])
    reader.restart()
    assert reader.read(rescan=True) == []
    assert len(reader.rejected) == 1


def test_a_restart_goes_on_where_it_was(tmp_path, reader):
    path = log_file(tmp_path, 1)
    path.write_text(text(0, 5))
    reader.read()
    append(path, row(4) + "\n" + row(5) + "\n")
    reader.restart()
    assert reader.read() == [4, 5]  # second 4 again: the repeated row, placed a millisecond later


def test_a_renamed_file_is_read_to_its_end_and_its_successor_from_its_start(tmp_path):
    reader = Reader(tmp_path / "live.dat")
    path = tmp_path / "live.dat"
    path.write_text(text(0, 3))
    assert reader.read() == [0, 1, 2]
    append(path, row(3) + "\n")
    path.rename(tmp_path / "live.dat.1")
    path.write_text(text(4, 6))
    assert sorted(reader.read()) == [3, 4, 5]
    append(path, row(6) + "\n")
    assert reader.read() == [6]
    assert reader.rejected == []


def test_a_file_renamed_while_the_agent_was_down(tmp_path):
    reader = Reader(tmp_path / "live.dat")
    path = tmp_path / "live.dat"
    path.write_text(text(0, 3))
    reader.read()
    append(path, row(3) + "\n")
    path.rename(tmp_path / "live.dat.1")
    path.write_text(text(4, 60))  # longer than what was read of the one before
    reader.restart()
    assert sorted(reader.read()) == list(range(3, 60))


def test_a_file_moved_out_of_the_pattern_is_read_to_its_end(tmp_path, reader):
    log_file(tmp_path, 1).write_text(text(0, 5))
    assert reader.read() == list(range(5))
    append(log_file(tmp_path, 1), "".join(row(n) + "\n" for n in range(5, 8)))
    log_file(tmp_path, 1).rename(tmp_path / "old_1.dat")
    log_file(tmp_path, 2).write_text(text(8, 10))
    reader.now += RESCAN_S
    assert sorted(reader.read()) == list(range(5, 10))


def test_a_file_moved_out_of_the_pattern_while_the_agent_was_down_is_read_to_its_end(tmp_path, reader):
    log_file(tmp_path, 1).write_text(text(0, 5))
    assert reader.read() == list(range(5))
    append(log_file(tmp_path, 1), row(5) + "\n")
    log_file(tmp_path, 1).rename(tmp_path / "old_1.dat")
    log_file(tmp_path, 2).write_text(text(6, 8))
    reader.restart()
    assert sorted(reader.read()) == [5, 6, 7]
    reader.restart()
    assert reader.read() == []


def test_files_renamed_within_the_pattern_are_not_read_again(tmp_path):
    reader = Reader(tmp_path / "live.dat*")
    for number in range(4):
        if number:
            for old in range(number - 1, 0, -1):
                (tmp_path / f"live.dat.{old}").rename(tmp_path / f"live.dat.{old + 1}")
            (tmp_path / "live.dat").rename(tmp_path / "live.dat.1")
        (tmp_path / "live.dat").write_text(text(10 * number, 10 * number + 10))
        assert reader.read(rescan=True) == list(range(10 * number, 10 * number + 10))
        reader.restart()
    assert reader.read(rescan=True) == []


def test_a_synchronised_copy_with_another_inode_is_not_read_again(tmp_path, reader):
    path = log_file(tmp_path, 1)
    path.write_text(text(0, 50))
    assert reader.read() == list(range(50))
    (tmp_path / "temporary").write_text(text(0, 60))
    (tmp_path / "temporary").replace(path)
    assert reader.read() == list(range(50, 60))


def test_a_file_written_anew_or_cut_is_read_from_its_start(tmp_path, reader):
    path = log_file(tmp_path, 1)
    path.write_text(text(0, 5))
    reader.read()
    path.write_text(text(100, 103))
    assert reader.read() == [100, 101, 102]
    path.write_text(text(200, 220))
    assert reader.read() == list(range(200, 220))


def test_a_file_that_cannot_be_read_does_not_stop_the_others(tmp_path, reader):
    log_file(tmp_path, 1).mkdir()
    log_file(tmp_path, 2).symlink_to(tmp_path / "nowhere")
    log_file(tmp_path, 3).write_text(text(0, 2))
    os.mkfifo(log_file(tmp_path, 4))
    assert reader.read() == [0, 1]


def test_a_name_that_is_not_text(tmp_path, reader):
    path = os.fsencode(tmp_path) + b"/DataLog_User_\xff.dat"
    with open(path, "w") as file:  # noqa: PTH123 - bytes
        file.write(text(0, 2))
    assert reader.read() == [0, 1]
    reader.restart()
    assert reader.read() == []


def test_an_overlong_line_is_passed_over_through_a_restart(tmp_path, reader, monkeypatch):
    monkeypatch.setattr("station_agent.follow.BLOCK", 100_000)
    path = log_file(tmp_path, 1)
    path.write_text(text(0, 2) + "x" * 150_000)
    reader.read()
    reader.restart()
    append(path, "x" * 150_000 + "\n" + row(2) + "\n")
    assert reader.read() == [2]
    ((_, rejected),) = reader.rejected
    assert rejected.line == 4


def test_an_inode_used_again_hides_no_rotated_file(tmp_path, reader):
    """Two files that were known had the same inode, one after the other; the second is looked for after a restart."""
    path = log_file(tmp_path, 1)
    path.write_text(text(0, 1))
    reader.read(rescan=True)
    inode = path.stat().st_ino
    first = tmp_path / "rotated-1"
    path.rename(first)
    path.write_text(HEADER + "\n")
    reader.read(rescan=True)
    first.unlink()
    for attempt in range(50):  # until the file system gives that inode to the file of the same name
        path.rename(tmp_path / f"other-{attempt}")
        path.write_text(HEADER + "\n")
        if path.stat().st_ino == inode:
            break
    reader.read(rescan=True)
    append(path, row(1) + "\n")
    path.rename(tmp_path / "rotated-2")
    path.write_text(HEADER + "\n")
    reader.restart()
    assert reader.read(rescan=True) == [1]


def test_files_that_are_long_gone_are_forgotten_and_read_again_if_they_come_back(tmp_path, reader, monkeypatch):
    monkeypatch.setattr("station_agent.follow.MOST_ABSENT", 3)
    for number in range(10):
        log_file(tmp_path, number).write_text(text(number, number + 1))
    assert reader.read() == list(range(10))
    kept = log_file(tmp_path, 1).read_text()
    for number in range(8):
        log_file(tmp_path, number).unlink()
    assert reader.read(rescan=True) == []
    known = [f"DataLog_User_{number}.dat" for number in range(5, 10)]
    assert sorted(reader.stored) == known
    reader.restart()
    assert reader.read(rescan=True) == []
    assert sorted(reader.stored) == known
    log_file(tmp_path, 1).write_text(kept)
    assert reader.read(rescan=True) == [1]


class Rotation(RuleBasedStateMachine):
    """Anything an instrument, a rotation and a restarting agent may do in any order: each row comes once."""

    @initialize(folder=st.just(None))
    def begin(self, folder):  # noqa: ARG002 - hypothesis needs an argument
        import tempfile  # noqa: PLC0415 - one folder per run of the machine
        from pathlib import Path  # noqa: PLC0415

        self.folder = Path(tempfile.mkdtemp(prefix="skyledger-follow-"))
        self.reader = Reader(self.folder / "live*.dat")
        self.written = 0
        self.files = 0
        self.half = ""
        self.open_file()

    def teardown(self):
        if hasattr(self, "reader"):
            try:
                self.every_row_comes_once()
            finally:
                shutil.rmtree(self.folder)

    def open_file(self):
        self.path = self.folder / f"live{self.files:03}.dat"
        self.files += 1
        self.path.write_text(HEADER + "\n")

    @rule(rows=st.integers(1, 6))
    def write(self, rows):
        self.put(rows)

    def put(self, rows):
        with self.path.open("a") as file:
            for _ in range(rows):
                line = row(self.written)
                file.write(line[len(self.half) :] + "\n")
                self.half = ""
                self.written += 1

    @rule(length=st.integers(1, 200))
    def write_half(self, length):
        if not self.half:
            self.half = row(self.written)[:length]
            append(self.path, self.half)

    @rule()
    def rotate_by_name(self):
        if not self.half:
            self.open_file()

    @rule(rows=st.integers(0, 4), restarting=st.booleans())
    def rotate_by_renaming(self, rows, restarting):
        """Rename the file to what the pattern does not match, with rows in it that were not read yet."""
        if not self.half:
            self.reader.read(rescan=True)
            self.put(rows)
            self.path.rename(self.folder / f"old{self.files:03}.dat")
            self.path.write_text(HEADER + "\n")
            self.files += 1
            if restarting:
                self.reader.restart()
            self.reader.read(rescan=True)

    @rule()
    def compress_what_was_read(self):
        self.reader.read(rescan=True)
        for path in self.folder.glob("old*.dat"):
            path.with_suffix(".gz").write_bytes(gzip.compress(path.read_bytes()))
            path.unlink()

    @rule(rescan=st.booleans())
    def read(self, rescan):
        self.reader.read(rescan=rescan)

    @rule()
    def restart(self):
        self.reader.restart()

    @rule()
    def every_row_comes_once(self):
        self.reader.now += 1
        self.reader.read(rescan=True)
        assert sorted(self.reader.seconds) == list(range(self.written))
        assert self.reader.rejected == []


Rotation.TestCase.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
TestRotation = Rotation.TestCase
