"""Pages as a browser shows them: no complaint in its console, every figure with a size, no sideways scrolling."""

import html
import json
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import neuroforge_jax as nf
from neuroforge_jax.benchmarking.cases import Case, random_pixels
from neuroforge_jax.benchmarking.explain import rungs
from neuroforge_jax.report.bench_page import render_bench_page
from neuroforge_jax.report.explain_page import render_explain_page
from neuroforge_jax.report.run_files import read_run
from neuroforge_jax.report.run_page import render_run_page
from tests.report.test_pages import bench_record, folders, started, training
from tests.report.test_quality_page import COLUMNS, make_regression

__all__ = ["folders"]

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium here (Debian's package)"),
]

ROOT = Path(__file__).parents[2]
NAMES = ("one run", "three runs", "numbers", "columns", "benchmark", "explained")
RECORDS = ("bench_peers", "bench_scaling", "bench_quick", "bench_speedrun", "bench_population")

MEASURE = """
<script>
const figures = [...document.querySelectorAll("svg, img")].map(e => e.getBoundingClientRect());
const words = [...document.querySelectorAll("svg text")].filter(e => {
  const word = e.getBoundingClientRect(), drawing = e.ownerSVGElement.getBoundingClientRect();
  return word.left < drawing.left - 2 || word.right > drawing.right + 2;
}).map(e => e.textContent);
const overlaps = [...document.querySelectorAll("svg")].flatMap(svg => {
  const scale = svg.getBoundingClientRect().width / svg.viewBox.baseVal.width;
  const boxes = [...svg.querySelectorAll("text, .key")].map(e => [e.textContent, e.getBoundingClientRect()]);
  return boxes.flatMap(([name, a], i) => boxes.slice(i + 1).filter(([_, b]) =>
    Math.min(a.right, b.right) - Math.max(a.left, b.left) > 2 * scale &&
    Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 2 * scale).map(([other]) => `${name} / ${other}`));
});
const measured = {overlaps,
  scroll: document.documentElement.scrollWidth, window: window.innerWidth, cut: words,
  sizes: figures.map(r => [r.width, r.height]), dark: getComputedStyle(document.body).backgroundColor};
parent.found[frameElement.id] = measured;
</script>
"""
"""Put into a copy of the page without its policy, which forbids scripts; the copy lies in a frame, which may be
narrower than a window of this browser.
"""

TELL = """
<script>
addEventListener("load", () => document.body.setAttribute("data-found", JSON.stringify(found)));
</script>
"""
"""At the end of the page around the frames, once all of them are there."""


def rungs_of(names, records):
    """The rungs of a small network: their code and programs are real, their times are not."""
    config, data = nf.TrainConfig(hidden=(48, 24), batch_size=32), random_pixels(512, 64)
    return rungs(
        [Case(f"backends/b64/{name}", replace(config, backend=name), data) for name in names], records
    )


@pytest.fixture(scope="module")
def pages(folders):
    curve = [
        training(f"scaling batch/b{batch}/{name}", batch * 1e-4, batch, {"batch_size": batch})
        for batch in (1, 16, 256)
        for name in ("optimized", "mixed")
    ]
    ladder = [
        training("backends/b64/naive", 0.05),
        training("backends/b64/a backend with a long name", 5e-4, ratio=100.0),
    ]
    runs = [read_run(folders / name) for name in ("one", "two", "other")]
    names = ("naive", "optimized", "mixed")
    grown = tuple(
        {**epoch, "memory_bytes": 454_000_000 + 9_000 * at} for at, epoch in enumerate(runs[0].epochs)
    )
    record = bench_record(*(training(f"backends/b64/{name}", 0.01, ratio=2.0) for name in names))
    return {
        "one run": render_run_page(runs[:1]),
        "three runs": render_run_page(runs),
        "benchmark": render_bench_page(bench_record(*ladder, started("startup/process/import"), *curve)),
        "explained": render_explain_page(rungs_of(names, record["cases"]), record),
        "numbers": render_run_page([make_regression(runs[0])]),
        "columns": render_run_page([replace(runs[0], importance=COLUMNS)]),
        "memory that hardly grows": render_run_page([replace(runs[0], epochs=grown)]),
        **{
            name: render_bench_page(json.loads((ROOT / "benchmarks" / f"{name}.json").read_text()))
            for name in RECORDS
        },
    }


def browse(path, *flags):
    return subprocess.run(
        [
            CHROMIUM,
            *(
                "--headless=new",
                "--no-sandbox",
                "--disable-gpu",
                "--hide-scrollbars",
                "--enable-logging=stderr",
            ),
            *flags,
            path.as_uri(),
        ],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )


WIDTHS = (390, 1200)


@pytest.fixture(scope="module")
def measures(pages, tmp_path_factory):
    """What each page is like in a frame of each width, by `name at width`: all of them in one browser."""
    frames = []
    for name, page in pages.items():
        without_policy = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page)
        inner = html.escape(without_policy.replace("</body>", f"{MEASURE}</body>"))
        frames += [
            f'<iframe id="{name} at {width}" style="border:0;width:{width}px;height:900px" srcdoc="{inner}">'
            "</iframe>"
            for width in WIDTHS
        ]
    path = tmp_path_factory.mktemp("frames") / "pages.html"
    path.write_text(f"<body><script>var found = {{}};</script>{''.join(frames)}{TELL}</body>")
    dom = browse(path, "--window-size=1300,1000", "--dump-dom").stdout
    return json.loads(html.unescape(re.search(r'data-found="(.*?)"', dom)[1]))


@pytest.mark.parametrize("name", [*NAMES, *RECORDS, "memory that hardly grows"])
@pytest.mark.parametrize("width", WIDTHS)
def test_a_page_fits_its_window_and_shows_every_figure(name, width, pages, measures):
    page, found = pages[name], measures[f"{name} at {width}"]
    assert found["window"] == width
    assert found["scroll"] <= width
    assert len(found["sizes"]) == page.count("<svg") + page.count("<img")
    assert all(w > 50 and h > 20 for w, h in found["sizes"])
    assert found["cut"] == []
    assert found["overlaps"] == []


@pytest.mark.parametrize("name", NAMES)
def test_a_page_is_drawn_without_a_complaint_in_light_and_dark(name, pages, tmp_path):
    path = tmp_path / "page.html"
    path.write_text(pages[name])
    brightness = {}
    for theme, number in (("light", 1), ("dark", 0)):
        picture = tmp_path / f"{theme}.png"
        done = browse(
            path,
            f"--blink-settings=preferredColorScheme={number}",
            "--window-size=1200,1600",
            f"--screenshot={picture}",
        )
        assert "CONSOLE" not in done.stderr
        shot = np.asarray(Image.open(picture).convert("L"))
        brightness[theme] = float(np.median(shot))
        assert shot.std() > 10, "an empty page"
    assert brightness["light"] > 200 > 60 > brightness["dark"]
