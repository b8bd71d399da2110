#!/usr/bin/env python3
"""Measures the page in headless Chromium, drawn by the processor, and writes docs/results/page.md. Called by `make bench-page`.

    bench_page.py PROTEXT PROTEINS [--points 20000] [--seconds 10]

- First paint of the search form, cold browser cache, median of several visits; what one visit to every view fetches, compressed.
- A search: from the click until its hits are drawn, less the time until the last byte of the answer.
- The map: frames per second while the arrow keys move it, each frame a new view, at three zooms.
"""

import argparse
import os
import pathlib
import random
import re
import statistics
import subprocess
import tempfile

from selenium import webdriver
from selenium.webdriver.support.ui import WebDriverWait

HERE = pathlib.Path(__file__).parent
VISITS = 9
RESIDUES = 30

# Clicks, waits for the hits and the frame that shows them; milliseconds from the answer's last byte to that frame.
SEARCH = """
const [residues, done] = arguments;
document.getElementById("q").value = residues;
performance.clearResourceTimings();
new MutationObserver((_, observer) => {
  if (!document.querySelector("ol.hits li")) return;
  observer.disconnect();
  requestAnimationFrame(() => setTimeout(() => {
    const answer = performance.getEntriesByType("resource").filter((entry) => entry.initiatorType === "fetch").pop();
    done([performance.now() - clicked, performance.now() - answer.responseEnd]);
  }));
}).observe(document.getElementById("answers"), { childList: true, subtree: true });
const clicked = performance.now();
document.querySelector("#search button[type=submit]").click();
"""

# Frames per second over so many seconds, a step of the view in each.
FRAMES = """
const [seconds, done] = arguments;
const canvas = document.getElementById("map");
const times = [];
const frame = (now) => {
  times.push(now);
  if (now - times[0] > seconds * 1000) {
    const steps = times.slice(1).map((time, at) => time - times[at]).sort((a, b) => a - b);
    done([1000 * steps.length / (now - times[0]), steps[Math.floor(steps.length * 0.99)]]);
    return;
  }
  const key = Math.floor(times.length / 40) % 2 ? "ArrowLeft" : "ArrowRight";
  canvas.dispatchEvent(new KeyboardEvent("keydown", { key }));
  requestAnimationFrame(frame);
};
requestAnimationFrame(frame);
"""


def collection(protext, folder, proteins, n_points):
    """A collection of so many fragments of real proteins: their places are spread as a proteome's are."""
    chance = random.Random(5)
    records = [record.split("\n", 1) for record in pathlib.Path(proteins).read_text().split(">")[1:]]
    sequences = [sequence.replace("\n", "") for _, sequence in records]
    fasta = folder / "fragments.fasta"
    with open(fasta, "w") as file:
        for number in range(n_points):
            at = chance.randrange(len(sequences))
            start = chance.randrange(max(1, len(sequences[at]) - RESIDUES))
            residues = sequences[at][start : start + RESIDUES]
            species = re.search(r"OS=(.*?)(?= [A-Z]{2}=|$)", records[at][0])
            file.write(f">f{number} fragment OS={species[1] if species else 'unknown'}\n{residues}\n")
    index = folder / "fragments.index"
    subprocess.run([protext, "index", "build", fasta, "-o", index], check=True)
    return index, sequences[0][:RESIDUES]


def serve(protext, index):
    args = [protext, "serve", "--collection", f"fragments={index}", "--listen", "127.0.0.1:0"]
    service = subprocess.Popen(args, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    for line in service.stdout:
        if found := re.search(r"listening on (http://\S+)", line):
            return service, found[1]
    raise SystemExit("the service did not start")


def browser():
    options = webdriver.ChromeOptions()
    for option in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--window-size=1280,900"):
        options.add_argument(option)
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService("/usr/bin/chromedriver"))
    driver.set_script_timeout(120)
    return driver


def first_paint(driver, base):
    driver.execute_cdp_cmd("Network.enable", {})
    driver.execute_cdp_cmd("Network.setCacheDisabled", {"cacheDisabled": True})
    times = []
    for _ in range(VISITS):
        driver.get(base + "/")
        paint = "return performance.getEntriesByName('first-contentful-paint')[0]?.startTime"
        times.append(WebDriverWait(driver, 30).until(lambda _: driver.execute_script(paint)))
    driver.execute_cdp_cmd("Network.setCacheDisabled", {"cacheDisabled": False})
    driver.execute_cdp_cmd("Network.clearBrowserCache", {})
    fetched = 0
    for view in ("/", "/batch", "/map", "/predict", "/status"):
        driver.get(base + view)
        sizes = "return performance.getEntries().filter((entry) => !entry.name.includes('/v1/')).map((entry) => entry.transferSize || 0)"
        fetched += sum(driver.execute_script(sizes))
    return statistics.median(times), fetched


def search(driver, base, residues):
    found = []
    for _ in range(VISITS):
        driver.get(base + "/")
        found.append(driver.execute_async_script(SEARCH, residues))
    return [statistics.median(times) for times in zip(*found)]


def frames(driver, base, seconds):
    driver.get(base + "/map")
    WebDriverWait(driver, 600).until(lambda _: "records" in driver.find_element("id", "told").text)
    told = driver.find_element("id", "told").text
    found = []
    for zoom in (0, 2, 6):
        driver.execute_script("document.getElementById('reset').click()")
        key = "document.getElementById('map').dispatchEvent(new KeyboardEvent('keydown', { key: '+' }))"
        driver.execute_script(";".join([key] * zoom))
        found.append((1.4**zoom, *driver.execute_async_script(FRAMES, seconds)))
    size = driver.execute_script("const { width, height } = document.getElementById('map'); return width + ' by ' + height")
    driver.save_screenshot(str(pathlib.Path(".bench") / "map.png"))
    return told, size, found


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("protext")
    parser.add_argument("proteins")
    parser.add_argument("--points", type=int, default=20_000)
    parser.add_argument("--seconds", type=float, default=10)
    args = parser.parse_args()
    protext = os.path.abspath(args.protext)
    with tempfile.TemporaryDirectory() as folder:
        index, residues = collection(protext, pathlib.Path(folder), args.proteins, args.points)
        service, base = serve(protext, index)
        driver = browser()
        try:
            painted, fetched = first_paint(driver, base)
            shown, beyond = search(driver, base, residues)
            told, size, rates = frames(driver, base, args.seconds)
        finally:
            driver.quit()
            service.terminate()
            service.wait()
    lines = [
        "# The page, measured",
        "",
        f"`make bench-page`: headless Chromium without a graphics card, the service and the browser on the same {os.cpu_count()} cores; load "
        f"{os.getloadavg()[0]:.1f} at the end. A search is over {args.points:,} records; the map shows {told} on {size} pixels.",
        "",
        "| what | figure | wanted |",
        "|---|--:|--:|",
        f"| first paint of the search form, median of {VISITS} | {painted:.0f} ms | under 1 s |",
        f"| one visit to every view, compressed | {fetched / 1000:.0f} kB | under 500 kB |",
        f"| a search: from the answer's last byte until its hits are drawn, median of {VISITS} | {beyond:.0f} ms | under 300 ms |",
        f"| the same, from the click | {shown:.0f} ms | |",
    ]
    lines += [
        f"| the map moves, zoom {zoom:.1f}: frames per second (99th percentile of a frame) | {rate:.0f} ({slow:.0f} ms) | 30 |"
        for zoom, rate, slow in rates
    ]
    text = "\n".join(lines) + "\n"
    (HERE / "page.md").write_text(text)
    print(text)


main()
