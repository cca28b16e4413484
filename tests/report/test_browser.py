"""The report and the dashboard in a real browser: what they log, ask for and show, and how soon."""

from __future__ import annotations

import json
import re
import signal
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from browser import Browser, browser
from made_up_studies import FACTS, NETWORK, SETTINGS, made_up_records

from nas.report.axes import MEASURES
from nas.report.page import report_html
from nas.study.answer import best_record
from nas.study.front import front_records

if TYPE_CHECKING:
    from conftest import Study

READY = "document.documentElement?.dataset.ready"
SECTIONS = ["front", "network", "mistakes", "progress", "curves", "genes", "every-trial", "ledger", "test-set", "again"]
# Of each number in the card of a network, on how many lines it stands.
LINES_OF_FIGURES = """[...document.querySelectorAll('#card dd')]
    .filter((figure) => /^[0-9,.]+( bytes)?$/.test(figure.textContent))
    .map((figure) => {
        const range = document.createRange();
        range.selectNodeContents(figure);
        return range.getClientRects().length;
    })"""
RECORDS = [replace(r, deployed_params=r.num_params) for r in made_up_records(1000)]
FRONT = front_records(RECORDS)
BEST = best_record(RECORDS, SETTINGS)
assert BEST is not None


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a study of a thousand trials."""
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(report_html(FACTS, RECORDS, {r.number: NETWORK for r in RECORDS}), encoding="utf-8")
    return path


@pytest.mark.parametrize("width", [1400, 390])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_the_report_opens_without_a_complaint_or_a_request(
    chromium: Browser, page: Path, width: int, dark: bool
) -> None:
    chromium.view(width, 900, dark)
    chromium.open(page.as_uri(), READY)
    assert chromium.evaluate("[...document.querySelectorAll('section')].map((s) => s.id)") == SECTIONS
    assert chromium.evaluate("document.querySelectorAll('.plot .scatterlayer .trace').length") >= 8
    assert chromium.evaluate("document.documentElement.scrollWidth") <= width  # nothing sticks out
    assert chromium.evaluate(LINES_OF_FIGURES)
    assert set(chromium.evaluate(LINES_OF_FIGURES)) == {1}
    background = chromium.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", background))) < 200) is dark
    assert chromium.complaints == []
    assert set(chromium.requests) == {page.as_uri()}


def test_a_thousand_trials_load_and_take_at_most_8_megabytes(chromium: Browser, page: Path) -> None:
    assert page.stat().st_size < 8_000_000
    chromium.view(1400, 900)
    chromium.open(page.as_uri(), READY)
    chromium.evaluate("document.querySelector('#all-trials summary').click()")
    chromium.wait("document.querySelectorAll('#all-trials tbody tr').length === 1000")


def test_the_page_forbids_what_would_leave_the_machine(chromium: Browser, page: Path) -> None:
    chromium.open(page.as_uri(), READY)
    refused = "fetch('http://127.0.0.1:9/').then(() => 'sent', () => 'refused')"
    assert chromium.evaluate(refused) == "refused"
    assert any("Content Security Policy" in complaint for complaint in chromium.complaints)


def test_the_card_shows_the_best_network_then_what_is_clicked(chromium: Browser, page: Path) -> None:
    chromium.view(1400, 900)
    chromium.open(page.as_uri(), READY)
    card = "document.getElementById('card').textContent"
    assert f"Trial {BEST.number}, completed" in chromium.evaluate(card)
    other = FRONT[0]
    chromium.evaluate(f"document.querySelector('button[data-trial=\"{other.number}\"]').click()")
    assert f"Trial {other.number}, {other.fate}" in chromium.evaluate(card)
    assert chromium.evaluate("document.querySelectorAll('#card svg').length") == 1
    # A click into the figure, on the mark of a confirmed network.
    figure = "document.getElementById('front-plot')"
    chromium.evaluate("document.getElementById('front-plot').scrollIntoView()")
    place = chromium.evaluate(
        f"""(() => {{
            const trace = {figure}.data.findIndex((t) => t.name === 'confirmed on the test set');
            const {{ xaxis, yaxis, _offset }} = {figure}._fullLayout, data = {figure}.data[trace];
            const box = {figure}.getBoundingClientRect();
            const x = box.x + xaxis._offset + xaxis.l2p(Math.log10(data.x[0]));
            const y = box.y + yaxis._offset + yaxis.l2p(Math.log10(data.y[0]));
            return {{ x, y, trial: data.customdata[0] }};
        }})()"""
    )
    for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
        at = {"x": place["x"], "y": place["y"], "button": "left" if kind != "mouseMoved" else "none", "clickCount": 1}
        chromium.call("Input.dispatchMouseEvent", type=kind, **at)
        time.sleep(0.15)
    chromium.wait(f"{card}.startsWith('Trial {place['trial']},')", 5)
    hover = chromium.evaluate("document.querySelector('.hoverlayer').textContent")
    assert f"trial {place['trial']}" in hover
    assert "over 3 seeds" in hover
    assert chromium.complaints == []


def test_all_trials_are_sorted_by_the_heading_that_is_clicked(chromium: Browser, page: Path) -> None:
    chromium.open(page.as_uri(), READY)
    table = "document.querySelector('#all-trials table')"
    chromium.evaluate("document.querySelector('#all-trials summary').click()")
    chromium.wait(f"{table}.rows.length > 1", 5)
    assert chromium.evaluate(f"{table}.tBodies[0].rows.length") == len(RECORDS)
    headings = chromium.evaluate(f"[...{table}.tHead.rows[0].cells].map((cell) => cell.textContent)")
    trials = f"[...{table}.tBodies[0].rows].map((row) => Number(row.dataset.trial))"
    sizes = {r.number: r.num_params for r in RECORDS}
    means = {r.number: r.confirmed.mean for r in RECORDS if r.confirmed}
    for clicks in (1, 2):
        for heading, values in (("parameters", sizes), ("test, %", means)):
            at = headings.index(heading)
            for _ in range(clicks):
                chromium.evaluate(f"{table}.tHead.rows[0].cells[{at}].querySelector('button').click()")
            shown = [values[n] for n in chromium.evaluate(trials)[: len(values)]]
            assert shown == sorted(values.values(), reverse=clicks == 2)
            sorts = chromium.evaluate(f"[...{table}.tHead.rows[0].cells].map((cell) => cell.ariaSort)")
            assert sorts[at] == ("ascending" if clicks == 1 else "descending")
            assert [sort for sort in sorts if sort] == [sorts[at]]
    chromium.evaluate(f"{table}.tBodies[0].rows[0].querySelector('button').click()")
    assert f"Trial {chromium.evaluate(trials)[0]}," in chromium.evaluate("document.getElementById('card').textContent")
    assert chromium.complaints == []


def test_the_legend_hides_a_trace(chromium: Browser, page: Path) -> None:
    chromium.open(page.as_uri(), READY)
    chromium.evaluate("document.querySelector('.legend button').click()")
    assert chromium.evaluate("document.querySelector('.legend button').ariaPressed") == "false"
    assert chromium.evaluate("document.getElementById('front-plot').data[0].visible") is False


def test_the_buttons_below_the_front_show_another_size(chromium: Browser, page: Path) -> None:
    chromium.view(390, 900)
    chromium.open(page.as_uri(), READY)
    buttons = "[...document.querySelectorAll('.choices button')]"
    assert chromium.evaluate(f"{buttons}.map((b) => b.textContent)") == [m.label for m in MEASURES]
    assert chromium.evaluate(f"{buttons}.every((b) => b.getBoundingClientRect().right < 390)")
    chromium.evaluate(f"{buttons}.at(-1).click()")
    title = "document.querySelector('#front-plot .xtitle').textContent"
    chromium.wait(f"{title} === {json.dumps(MEASURES[-1].title)}", 5)
    assert chromium.evaluate(f"{buttons}.map((b) => b.ariaPressed)") == ["false"] * 5 + ["true"]
    found = "document.getElementById('front-plot').data.find((t) => t.name === 'confirmed on the test set')"
    assert chromium.evaluate(f"[...{found}.x]") == [r.ram_bytes for r in RECORDS if r.confirmed]
    assert chromium.complaints == []


def test_the_page_follows_a_change_to_dark(chromium: Browser, page: Path) -> None:
    chromium.view(1400, 900, dark=False)
    chromium.open(page.as_uri(), READY)
    ink = "document.getElementById('front-plot').layout.font.color"
    before = chromium.evaluate(ink)
    chromium.view(1400, 900, dark=True)
    chromium.wait(f"{ink} !== '{before}'", 5)


def test_hostile_names_stay_text(chromium: Browser, tmp_path: Path) -> None:
    hostile = "</script><script>window.hit = 1</script><img src=x onerror='window.hit = 2'>"
    records = [replace(r, genes={hostile: hostile}, reason=hostile) for r in RECORDS[:60]]
    facts = replace(FACTS, name=hostile, space_text=hostile)
    path = tmp_path / "report.html"
    path.write_text(report_html(facts, records, {}), encoding="utf-8")
    chromium.open(path.as_uri(), READY)
    assert chromium.evaluate("window.hit === undefined")
    assert hostile in chromium.evaluate("document.getElementById('card').textContent")
    assert chromium.complaints == []


def test_the_dashboard_shows_the_front_and_the_answer(chromium: Browser, study_copy: Study) -> None:
    process = study_copy.nas.start("dashboard", "small", "--port", 0)
    try:
        assert process.stderr is not None
        address = re.match(r"the study is at (http://127\.0\.0\.1:\d+)/dashboard", process.stderr.readline())
        assert address is not None
        chromium.view(1400, 900)
        text = "document.body?.innerText"
        for path, shown in (("", "budget 2,000"), ("/note", study_copy.search.json["answer"])):
            chromium.open(f"{address[1]}/dashboard/studies/1{path}", f"{text}.includes({json.dumps(shown)})", 60)
            assert len(chromium.requests) > 2
            assert all(url.startswith((address[1], "data:", "blob:")) for url in chromium.requests)
            assert chromium.complaints == []
        number = max(row["trial"] for row in study_copy.search.json["front"] if row["seeds"])
        # The artifacts belong to the study, and lie on its first page.
        chromium.open(f"{address[1]}/dashboard/studies/1", f"{text}.includes('trial_{number}.py')", 60)
        drawing = "Math.max(...[...document.images].map(image => image.naturalWidth))"
        chromium.wait(f"{drawing} >= 200")  # the browser has read it, and shows it
        assert chromium.complaints == []
    finally:
        process.send_signal(signal.SIGINT)
        study_copy.nas.finish(process, 20)
    with closing(sqlite3.connect(study_copy.path / "run/study.db")) as connection:
        keys = [key for (key,) in connection.execute("select key from study_system_attributes")]
    assert any(key.startswith("dashboard:plot_data:front") for key in keys)
