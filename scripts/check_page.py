#!/usr/bin/env python3
"""Opens pages that `vlora report` writes in a headless Chromium, wide and narrow.

    apt-get install chromium chromium-driver python3-selenium
    scripts/check_page.py results/*/report.html

A page fails that is wider than its window, that writes an error to the console, or that asks for anything but itself.
With --pictures FOLDER, pictures of it are left there. Where there is no Chromium, nothing is checked, and it says so.
"""

import argparse
import json
import pathlib
import shutil
import sys

WIDTHS = [1440, 390]


def browser():
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    for argument in ["--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]:
        options.add_argument(argument)
    options.binary_location = shutil.which("chromium")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    return webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))


def faults(driver, page, width, pictures):
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride",
                           {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600})  # fmt: skip
    driver.get(page.resolve().as_uri())
    driver.execute_script("document.querySelectorAll('details').forEach(e => { e.open = true })")
    wide = driver.execute_script("return document.documentElement.scrollWidth")
    if wide > width:
        yield f"is {wide} pixels wide in a window of {width}"
    # Nothing is cut off beside the page either: what is wider scrolls by itself.
    outside = driver.execute_script(
        "return [...document.querySelectorAll('body *')].filter(e => !e.closest('.wide') && !e.closest('svg') && "
        "e.getBoundingClientRect().right > innerWidth + 1).map(e => e.tagName + ' ' + e.textContent.slice(0, 40))"
    )
    for element in outside[:3]:
        yield f"has an element beyond the window of {width}: {element}"
    for entry in driver.get_log("browser"):
        yield f"writes to the console: {entry['message']}"
    for entry in driver.get_log("performance"):
        message = json.loads(entry["message"])["message"]
        if message["method"] == "Network.requestWillBeSent":
            url = message["params"]["request"]["url"]
            if url != page.resolve().as_uri() and not url.startswith("data:"):
                yield f"asks for {url}"
    if pictures:
        height = driver.execute_script("return document.documentElement.scrollHeight")
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride",
                               {"width": width, "height": min(height, 12000), "deviceScaleFactor": 1,
                                "mobile": width < 600})  # fmt: skip
        name = f"{page.resolve().parent.name}-{width}.png"
        driver.save_screenshot(str(pictures / name))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pages", nargs="+", type=pathlib.Path)
    parser.add_argument("--pictures", type=pathlib.Path, help="a folder for pictures of the pages")
    options = parser.parse_args()
    missing = [name for name in ["chromium", "chromedriver"] if not shutil.which(name)]
    try:
        import selenium  # noqa: F401
    except ImportError:
        missing.append("Python's selenium")
    if missing:
        print(f"SKIPPED: no page was opened in a browser: there is no {' and no '.join(missing)}")
        return 0
    if options.pictures:
        options.pictures.mkdir(parents=True, exist_ok=True)
    driver = browser()
    found = 0
    try:
        for page in options.pages:
            for width in WIDTHS:
                for fault in faults(driver, page, width, options.pictures):
                    print(f"{page}: {fault}")
                    found += 1
    finally:
        driver.quit()
    print(f"{len(options.pages)} pages at {' and '.join(map(str, WIDTHS))} pixels: {found} faults")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
