"""Executes each operation in the viewer of a fresh service, in the order of the page, with the values as they stand.

    click.py URL

The browser and its driver are Debian's. An operation that does not succeed, a request to another host, or a mistake in
the browser's console fails the run.
"""

import sys

from selenium import webdriver
from selenium.common.exceptions import WebDriverException
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

LIMIT_SECONDS = 20
# Keeps when the page was clicked and what its requests came to, for an operation that shows no response.
RECORD = """
const record = (entry) => window.recorded.push({at: Math.round(performance.now()), ...entry});
window.recorded = [];
document.addEventListener("click", (click) => record({clicked: click.target.className}), true);
const fetch = window.fetch;
window.fetch = async (...request) => {
  const url = request[0].url ?? request[0];
  record({requested: url});
  try {
    const response = await fetch(...request);
    record({responded: url, status: response.status});
    return response;
  } catch (error) {
    record({failed: url, error: String(error)});
    throw error;
  }
};
"""


def main(url):
    browser = start()
    try:
        browser.get(url + "/docs")
        waiting = WebDriverWait(browser, LIMIT_SECONDS)
        waiting.until(lambda browser: operations(browser), "the page has no operations")
        browser.execute_script(RECORD)
        ids = [block.get_attribute("id") for block in operations(browser)]
        failed = [outcome for outcome in (execute(browser, waiting, id) for id in ids) if outcome]
        loaded = browser.execute_script("return performance.getEntriesByType('resource').map((entry) => entry.name)")
        elsewhere = [name for name in loaded if not name.startswith((url + "/", "data:", "blob:"))]
        mistakes = [entry["message"] for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
    except WebDriverException as error:
        recorded = browser.execute_script("return (window.recorded ?? []).slice(-20)")
        print(f"FAILED: {error.msg}\nThe page: {recorded}\n{browser.get_log('browser')}", file=sys.stderr)
        return 1
    finally:
        browser.quit()
    for line in failed + elsewhere + mistakes:
        print(f"FAILED: {line}", file=sys.stderr)
    print(f"{len(ids)} operations, {len(failed)} failed")
    return 1 if failed or elsewhere or mistakes or len(ids) < 20 else 0


def start():
    options = webdriver.ChromeOptions()
    for argument in [
        "--headless=new",
        "--no-sandbox",
        "--disable-dev-shm-usage",
        "--window-size=1200,4000",
        # A page that nobody sees has slow timers, and the viewer waits for its timers.
        "--disable-background-timer-throttling",
        "--disable-backgrounding-occluded-windows",
        "--disable-renderer-backgrounding",
    ]:
        options.add_argument(argument)
    options.binary_location = "/usr/bin/chromium"
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    return webdriver.Chrome(options=options, service=Service("/usr/bin/chromedriver"))


def operations(browser):
    return browser.find_elements(By.CSS_SELECTOR, ".opblock")


def execute(browser, waiting, id):
    """Says why the operation failed, if it did."""
    # The page renders each block again as it changes: an element that was found a moment ago may be gone.
    def within(selector, then=""):
        script = "const found = document.getElementById(arguments[0]).querySelector(arguments[1]);"
        return browser.execute_script(script + then + "return found", id, selector)

    def click(selector):
        waiting.until(lambda _: within(selector, "if (found) found.click();"), f"{id} has no {selector}")

    # The page may close a block while it follows its own links.
    def opened(selector):
        script = "return document.getElementById(arguments[0]).classList.contains('is-open')"
        if not browser.execute_script(script, id):
            click(".opblock-summary-control")
        return within(selector)

    waiting.until(lambda _: opened("button.execute"), f"{id} does not open")
    click("button.execute")
    shown = ".live-responses-table tbody .response-col_status"
    status = waiting.until(lambda _: opened(shown), f"{id} has no response")
    status = status.text.split()[0]
    print(id, status)
    if status.isdigit() and 200 <= int(status) < 400:
        click(".opblock-summary-control")
        return None
    body = within(".live-responses-table .response-col_description")
    return f"{id}: {status} {body.text if body else ''}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
