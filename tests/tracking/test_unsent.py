"""Notes: what is new in a folder, whatever its worker was doing when it was read."""

from __future__ import annotations

import json

import pytest

from ablate.tracking import unsent
from ablate.tracking.unsent import Sent


def line(images, **metrics):
    return json.dumps({"step": images, "images": images, "time": 2.5, "metrics": metrics}) + "\n"


@pytest.fixture
def log(tmp_path):
    return tmp_path / "metrics.jsonl"


def test_a_torn_line_waits_until_it_is_whole(log, tmp_path):
    log.write_text(line(1, loss=1.0) + line(2, loss=0.5)[:20])
    text, offset = unsent.lines(tmp_path, 0)
    assert text.decode() == line(1, loss=1.0)
    log.write_text(line(1, loss=1.0) + line(2, loss=0.5))
    assert unsent.lines(tmp_path, offset)[0].decode() == line(2, loss=0.5)


def test_a_shorter_file_is_read_from_its_start(log, tmp_path):
    log.write_text(line(1, loss=1.0))
    assert unsent.lines(tmp_path, 10_000) == unsent.lines(tmp_path, 0)
    log.unlink()
    assert unsent.lines(tmp_path, 10_000) == (b"", 0)


def test_points_leave_out_repeats_and_broken_lines_only():
    text = (
        line(1, loss=1.0)
        + '{"step": 2, "ima'
        + line(2, loss=0.9)
        + line(1, loss=1.0, fid=3.0)
        + "7\n"
        + line(2, loss=0.8)
    )
    last: dict[str, list[float]] = {}
    assert list(unsent.points(text.encode(), last)) == [
        ("loss", 1.0, 2500, 1),
        ("fid", 3.0, 2500, 1),
        ("loss", 0.8, 2500, 2),
    ]
    assert last == {"loss": [2, 0.8], "fid": [1, 3.0]}


def test_points_leave_out_what_is_no_number():
    assert not list(unsent.points(line(1, loss=None, note="x").encode(), {}))


def test_notes_of_two_views_stand_side_by_side(tmp_path):
    one, other = Sent(run="a", last={"loss": [1, float("inf")]}), Sent(run="b")
    one.save(tmp_path, "one")
    other.save(tmp_path, "other")
    assert (Sent.load(tmp_path, "one"), Sent.load(tmp_path, "other")) == (one, other)
    assert [p.name for p in tmp_path.iterdir()] == [unsent.NOTES]


@pytest.mark.parametrize("text", ["", "[]", '{"one"', '{"one": {"colour": 1}}', '{"one": 3}'])
def test_damaged_notes_are_blank(tmp_path, text):
    (tmp_path / unsent.NOTES).write_text(text)
    assert Sent.load(tmp_path, "one") == Sent()


def test_a_checksum_sees_content_names_and_folders(tmp_path):
    (tmp_path / "a").mkdir()
    file = tmp_path / "a" / "b.txt"
    sums = [unsent.checksum([tmp_path])]
    for text in ("one", "two"):
        file.write_text(text)
        sums.append(unsent.checksum([tmp_path]))
    file.rename(tmp_path / "a" / "c.txt")
    assert len({*sums, unsent.checksum([tmp_path]), unsent.checksum([tmp_path], "more")}) == 5


@pytest.mark.parametrize("running", [True, False])
def test_a_record_decides_the_state(tmp_path, running):
    assert unsent.state(tmp_path, running) == ("running" if running else "killed")
    (tmp_path / "record.json").write_text('{"state": "diverged"}')
    assert unsent.state(tmp_path, running) == "diverged"


def test_results_name_the_steps_and_skip_what_was_not_measured():
    record = {
        "fid": [{"nfe": 1, "value": 3.0}, {"nfe": 1, "value": 9.0}],
        "kid": [{"nfe": 2, "value": None}],
        "wall_s": 7,
    }
    assert unsent.results(record) == {"fid_1step": 3.0, "wall_s": 7}
    assert unsent.results({}) == {}


def test_flat_keeps_names_and_every_leaf():
    assert unsent.flat({"a": {"b": 1, "c": {}}, "d": [1]}, "p") == {"p.a.b": 1, "p.a.c": {}, "p.d": [1]}
