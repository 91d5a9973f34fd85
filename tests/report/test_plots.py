from __future__ import annotations

import re
from pathlib import Path

from vlp.report import plots

NAMES = ("main", "this branch")
LOSS = {"Losses": {"x": "step", "y": {"loss.csv": ["a_loss", "b_loss"]}}}


def sides(tmp_path: Path, old: str | None, new: str | None) -> tuple[plots.Locate, plots.Locate]:
    folders = []
    for name, text in (("old", old), ("new", new)):
        folder = tmp_path / name
        folder.mkdir()
        if text is not None:
            (folder / "loss.csv").write_text(text, encoding="utf-8")
        folders.append(folder)

    def locate(folder: Path) -> plots.Locate:
        return lambda path: folder / path if (folder / path).exists() else "no such file"

    return locate(folders[0]), locate(folders[1])


def drawn(tmp_path: Path, old: str | None, new: str | None) -> str:
    curves, others = plots.declared({"plots": [LOSS]})
    assert not others
    return plots.render(curves, NAMES, sides(tmp_path, old, new))


def test_a_curve_spans_its_own_points_and_both_sides_share_the_height(tmp_path):
    old = "step,a_loss,b_loss\n10,4.0,\n20,2.0,1.0\n30,1.0,0.5\n"
    new = "step,a_loss,b_loss\n10,3.0,\n20,0.5,0.75\n"
    text = drawn(tmp_path, old, new)
    assert re.findall(r'x-axis "step" (.*)', text) == ["10 --> 30", "10 --> 20", "20 --> 30"]
    assert re.findall(r'y-axis "(a_loss)" (.*)', text) == [("a_loss", "0.5 --> 4")] * 2
    assert re.findall(r"line \[(.*)\]", text) == ["4, 2, 1", "3, 0.5", "1, 0.5"]
    assert "`b_loss`: one point, 0.75 at 20" in text


def test_points_at_uneven_distances_are_interpolated_between_them(tmp_path):
    even = "step,a_loss,b_loss\n0,0,0\n1,1,1\n4,4,4\n"
    assert "line [0, 2, 4]" in drawn(tmp_path, even, even.replace("4,4,4", "4,8,4"))


def test_the_same_file_is_not_drawn_twice(tmp_path):
    text = "step,a_loss,b_loss\n0,0,0\n1,1,1\n"
    assert drawn(tmp_path, text, text) == "The same on both sides: Losses."


def test_a_file_that_cannot_be_had_is_named(tmp_path):
    assert drawn(tmp_path, "step\n", None) == "Losses: not drawn. `loss.csv` of this branch: no such file."


def test_a_column_that_one_side_lacks_has_no_point_there(tmp_path):
    text = drawn(tmp_path, "step,b_loss\n0,1\n1,2\n", "step,a_loss,b_loss\n0,1,1\n1,3,2\n")
    assert "<td>\n\n`a_loss`: no point\n\n</td>" in text
    assert "line [1, 3]" in text


def test_a_level_curve_still_has_a_height(tmp_path):
    text = drawn(tmp_path, "step,a_loss,b_loss\n0,1,1\n1,1,1\n", "step,a_loss,b_loss\n0,1,1\n2,1,1\n")
    assert 'y-axis "a_loss" 1 --> 2' in text


def test_a_plot_declared_by_its_file_alone_is_named_as_not_drawn():
    assert plots.declared({"plots": ["a.csv", {"b.csv": None}, LOSS]})[1] == ["a.csv", "b.csv"]


BARS = {"F1": {"template": "bars", "x": "f1", "y": {"loss.csv": "label"}}}


def test_bars_are_a_table_a_label_a_row(tmp_path):
    curves, others = plots.declared({"plots": [BARS]})
    assert not others
    old, new = "label,f1\nred,0.5\nbl|ue,\ngone,1\n", "label,f1\nred,0.75\nnew,0.123456\n"
    text = plots.render(curves, NAMES, sides(tmp_path, old, new))
    assert "| label | f1, main | f1, this branch |\n| --- | --- | --- |\n" in text
    assert "| red | 0.5 | 0.75 |\n| new | – | 0.1235 |\n| gone | 1 | – |" in text


def test_bars_may_stand(tmp_path):
    standing = {"F1": {"template": "bar_vertical", "x": "label", "y": {"loss.csv": "f1"}}}
    curves, _ = plots.declared({"plots": [standing]})
    text = plots.render(curves, NAMES, sides(tmp_path, "label,f1\nred,0.5\n", "label,f1\nred,0.75\n"))
    assert "| red | 0.5 | 0.75 |" in text


def test_a_curve_of_words_is_said_to_be_none(tmp_path):
    text = drawn(tmp_path, "step,a_loss,b_loss\n0,1,1\n", "step,a_loss,b_loss\n0,much,1\n")
    assert "`a_loss` over `step`: not drawn, `much` is no number." in text
    assert "`b_loss`: one point, 1 at 0" in text


def test_a_file_that_is_no_csv_is_named_as_not_drawn():
    body = {"x": "step", "y": {"loss.json": "a_loss"}}
    assert plots.declared({"plots": [{"Losses": body}]}) == ([], ["Losses"])


def test_names_are_escaped_once_for_where_they_stand(tmp_path):
    body = LOSS["Losses"]
    curves, _ = plots.declared({"plots": [{"Loss_of <b> & c": body}, BARS]})
    old, new = "step,a_loss,b_loss\n0,1,1\n1,2,2\n", "step,a_loss,b_loss\n0,1,1\n1,3,3\n"
    text = plots.render(curves[:2], ("a_branch", "this branch"), sides(tmp_path, old, new))
    assert "<summary>Loss_of &lt;b&gt; &amp; c</summary>" in text
    assert "<th>a_branch</th>" in text
