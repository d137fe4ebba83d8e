"""The panel on an attribution, without a browser: what a click, a menu and a book without sessions show."""
import re

import pytest
from panel_support import days, read_book  # noqa: F401  # days: a fixture

from otsport.book.attribution import attribute, percent_text
from otsport.book.effect_rows import effect_positions
from otsport.book.position_table import bacon_rows
from otsport.desk.book_attribution import book_attribution
from otsport.panels.drill import attribution_panel, largest_rows, spans_of


@pytest.fixture(scope="module")
def found(days):
    return book_attribution(None, days)


def numbers(html, name):
    """The percents of a row of a table."""
    row = next(r for r in re.findall(r"<tr>(.*?)</tr>", html, re.S) if f">{name}<" in r)
    return re.findall(r"[+-][0-9.]+%", row)


def test_each_click_shows_its_effect_and_positions_that_sum_to_it(found):
    panel = attribution_panel(found)
    for effect, x in found.by_sector.effects.items():
        panel.buttons[effect].click()
        assert panel.effect == effect and f"{effect}: {percent_text(x)}" in panel.found.value
        assert numbers(panel.found.value, "total")[-1] == percent_text(x)
        assert [b.button_style for n, b in panel.buttons.items() if n != effect] == [""] * (len(panel.buttons) - 1)


def test_a_segment_and_a_period_go_down_to_one_number(found):
    panel, a = attribution_panel(found), found.by_sector
    panel.buttons["selection"].click()
    segment, period = a.cells["selection"].sum().abs().idxmax(), a.table.periods[2]
    panel.chosen.segment.value, panel.chosen.period.value = segment, period
    x = a.cells["selection"].at[period, segment]
    assert f"selection of {segment} in {period:%Y-%m-%d}: {percent_text(x)}" in panel.found.value
    assert effect_positions(a, "selection", segment, period)["effect"].sum() == pytest.approx(x, abs=1e-15)
    assert numbers(panel.found.value, "total")[-1] == percent_text(x) and "linked by Cari" in panel.found.value
    panel.buttons["allocation"].click()  # another effect begins with all of it
    assert panel.chosen.segment.value is None and panel.chosen.period.value is None


def test_span_level_benchmark_and_linking_are_those_chosen(found):
    panel = attribution_panel(found)
    panel.chosen.level.value = "strategy, sector, symbol"
    assert panel.attribution.by == ("strategy", "sector", "symbol") and abs(panel.attribution.residual) < 1e-12
    panel.chosen.linking.value, panel.chosen.benchmark.value = "grap", "universe"
    assert panel.attribution.linking == "grap" and "universe" not in panel.attribution.segments("sector").index.get_level_values("sector")
    for effect in panel.buttons:
        panel.buttons[effect].click()
        assert f"{effect}: " in panel.found.value


def test_numbers_of_one_attribution_never_stand_below_the_sentence_of_another(found):
    panel = attribution_panel(found)
    seen = []
    panel.said.observe(lambda change: seen.append((len(drawn), change["new"])), "value")
    drawn = []
    panel.found.observe(lambda change: drawn.append(change["new"]), "value")
    before = panel.found.value
    panel.chosen.linking.value = "grap"
    assert len(seen) == 1 and len(drawn) == 1 and before != drawn[0]  # each is written once, complete, one right after the other


def test_a_month_begins_with_the_snapshot_before(days):
    spans = spans_of(book_attribution(None, days))
    months = spans.names()[1:]
    if len(months) > 1:
        later = spans.of(months[0], "index", "sector", "carino")
        assert later.table.held[0].any()  # what was held over the turn of the month counts as held, not as traded


def test_whatever_cannot_be_shown_is_told(tmp_path):
    assert "give otsport.open_book()" in attribution_panel({"a": 1}).children[0].value
    assert "no session of this book is finished" in attribution_panel(read_book(tmp_path, begun=False)).children[0].value


def test_any_attribution_has_a_panel():
    a = attribute(bacon_rows(), method="geometric")
    panel = attribution_panel(a)
    panel.buttons["selection"].click()
    assert f"selection: {percent_text(a.effects['selection'])}" in panel.found.value and numbers(panel.found.value, "total")[-1] == percent_text(a.effects["selection"])


def test_largest_rows_keep_the_total():
    frame = effect_positions(attribute(bacon_rows()), "selection")
    for most in (1, 2, 3, 9):
        shown = largest_rows(frame, "effect", most)
        assert shown["effect"].iloc[:-1].sum() == pytest.approx(shown["effect"].iloc[-1]) == pytest.approx(frame["effect"].sum())
