from __future__ import annotations

from vlp.report.markdown import MOST_ROWS, bytes_, code, difference, number, plain, short, table


def test_what_could_break_a_table_is_escaped():
    assert code("a|b\nc") == "`a\\|b c`"
    assert code("`tick`") == "`` `tick` ``"
    assert code("") == "–"
    assert plain("<b>|*x*") == "\\<b\\>\\|\\*x\\*"


def test_numbers_are_short_and_signed_where_they_are_differences():
    assert [number(value) for value in (24186, 0.806831, 0.0, 2e-06, float("nan"))] == [
        "24186",
        "0.8068",
        "0",
        "2e-06",
        "nan",
    ]
    assert [difference(value) for value in (-80, 3, -0.004634, 0.1, -1e-06)] == [
        "−80",
        "+3",
        "−0.00463",
        "+0.1",
        "−1e-06",
    ]
    assert [bytes_(count) for count in (12, 1_500, 8_227_227, 3_000_000_000)] == ["12 B", "1.5 kB", "8.23 MB", "3 GB"]


def test_a_long_value_is_cut_visibly():
    assert short([1, None]) == "`[1, null]`"
    assert short("x" * 100) == f"`{'x' * 79}…`"


def test_rows_that_are_left_out_are_counted():
    text = table(["n"], [[str(number_)] for number_ in range(MOST_ROWS + 3)], more="; see the rest")
    assert text.splitlines()[-1] == "… and 3 rows more; see the rest."
    assert text.count("| ") == MOST_ROWS + 2
