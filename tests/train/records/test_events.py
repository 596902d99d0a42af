"""TensorBoard events appear epoch by epoch, and a failure to write them stops no run."""

import dataclasses
import errno
import math
import os
import time

import pytest
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto import event_pb2

from tests.train.synthetic import record
from train.records.events import EventLog, remove_events
from train.records.metrics import MEASURED

ROWS = record("a", 0, [8.0, 5.0, 4.0]).history


def fail(sentence):
    pytest.fail(sentence)


def read(path):
    """The events of one file: a length, its checksum, the event, its checksum."""
    data, events = path.read_bytes(), []
    while data:
        length = int.from_bytes(data[:8], "little")
        events.append(event_pb2.Event.FromString(data[12 : 12 + length]))
        data = data[16 + length :]
    return events


def points(folder):
    """What TensorBoard shows: files in order of their names, where a start drops the later points before it."""
    found = {}
    for path in sorted(folder.glob("events.out.tfevents.*"), key=lambda path: path.stat().st_mtime_ns):
        for event in read(path):
            if event.session_log.status == event_pb2.SessionLog.START:
                found = {key: value for key, value in found.items() if key[1] < event.step}
            found |= {(value.tag, event.step): value.simple_value for value in event.summary.value}
    return found


def test_each_number_is_there_as_soon_as_its_epoch_is_over(tmp_path):
    with EventLog(tmp_path, 0, fail) as log:
        log.epoch(ROWS[0])
        assert points(tmp_path)["test_error", 0] == 8.0
        log.epoch(dataclasses.replace(ROWS[1], train_loss=math.nan))
    assert len(points(tmp_path)) == 2 * len(MEASURED) - 1


def test_events_have_the_time_at_which_they_were_written(tmp_path, monkeypatch):
    with EventLog(tmp_path, 0, fail) as log:
        for second, row in enumerate(ROWS):
            monkeypatch.setattr(time, "time", lambda second=second: 1e9 + second)
            log.epoch(row)
    (path,) = tmp_path.iterdir()
    assert [event.wall_time for event in read(path) if event.summary.value] == [1e9, 1e9 + 1, 1e9 + 2]


def test_a_resumed_run_replaces_the_epochs_that_it_repeats(tmp_path):
    with EventLog(tmp_path, 0, fail) as log:
        for row in ROWS:
            log.epoch(row)
    with EventLog(tmp_path, 1, fail) as log:
        log.epoch(dataclasses.replace(ROWS[1], test_error=7.0))
    shown = {step: value for (tag, step), value in points(tmp_path).items() if tag == "test_error"}
    assert shown == {0: 8.0, 1: 7.0}


def test_a_run_from_its_first_epoch_replaces_earlier_files(tmp_path):
    for errors in ([8.0, 5.0], [7.0]):
        with EventLog(tmp_path, 0, fail) as log:
            for row in record("a", 0, errors).history:
                log.epoch(row)
    assert len(list(tmp_path.iterdir())) == 1
    assert points(tmp_path)["test_error", 0] == 7.0


def test_events_are_removed(tmp_path):
    EventLog(tmp_path, 0, fail).close()
    remove_events(tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_reported_once_and_stops_nothing(tmp_path, monkeypatch):
    def full(self, event):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    sentences = []
    with EventLog(tmp_path, 0, sentences.append) as log:
        monkeypatch.setattr(EventsWriter, "write_event", full)
        for row in ROWS:
            log.epoch(row)
    assert sentences == [
        f"{tmp_path}: TensorBoard events cannot be written (No space left on device). The run goes on."
    ]


def test_a_folder_that_cannot_be_made_stops_nothing(tmp_path):
    (tmp_path / "file").write_text("")
    sentences = []
    with EventLog(tmp_path / "file" / "run", 0, sentences.append) as log:
        log.epoch(ROWS[0])
    assert len(sentences) == 1
