"""Drive Galaxy's web pages as a person would, in headless Chromium, for the browser tests.

Elements are found by the selectors of Galaxy's own browser tests, or by their visible text.
"""

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

import requests
from selenium import webdriver
from selenium.common.exceptions import (
    ElementClickInterceptedException,
    ElementNotInteractableException,
    StaleElementReferenceException,
)
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webdriver import WebDriver
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

from dev.local_galaxy import Galaxy

Found = TypeVar("Found")

HISTORY_ITEM = ".history-index .content-item"
UNREADY = (ElementClickInterceptedException, ElementNotInteractableException)

BROWSERS = ["chromium", "chromium-browser", "google-chrome"]
DRIVER = "chromedriver"
FLAGS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--force-device-scale-factor=1",
]
WIDTH, HEIGHT = 1440, 807  # of the page, without the browser's own borders
SECONDS_FOR_A_PAGE = 60
SECONDS_FOR_A_JOB = 180


def installed() -> str | None:
    """The path of an installed browser that can be driven, or None."""
    found = [path for path in map(shutil.which, BROWSERS) if path]
    return found[0] if found and shutil.which(DRIVER) else None


@contextmanager
def browser(galaxy: Galaxy, screenshots: Path) -> Iterator["Browser"]:
    """A browser window with an open Galaxy, for the duration of a with-block."""
    options = webdriver.ChromeOptions()
    options.binary_location = installed()
    for flag in FLAGS:
        options.add_argument(flag)
    service = webdriver.ChromeService(shutil.which(DRIVER))
    driver = webdriver.Chrome(options=options, service=service)
    page = {"width": WIDTH, "height": HEIGHT, "deviceScaleFactor": 1, "mobile": False}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", page)
    try:
        yield Browser(driver, galaxy, screenshots)
    finally:
        driver.quit()


class Browser:
    """A person in front of Galaxy. Every step waits until the page is ready for it."""

    def __init__(self, driver: WebDriver, galaxy: Galaxy, screenshots: Path):
        self.driver = driver
        self.galaxy = galaxy
        self.screenshots = screenshots

    def open(self, path: str = "") -> None:
        self.driver.get(f"{self.galaxy.url}/{path}")

    def screenshot(self, name: str) -> None:
        """Save a PNG of the visible page."""
        self.screenshots.mkdir(parents=True, exist_ok=True)
        self.driver.save_screenshot(str(self.screenshots / f"{name}.png"))

    def screenshot_of(self, css: str, name: str) -> None:
        """Save a PNG of one element, scrolled to its top and without a cursor in it."""
        element = self.find(css)
        to_top = "for (const part of arguments[0].querySelectorAll('*')) part.scrollTop = 0;"
        self.driver.execute_script(f"{to_top} document.activeElement.blur()", element)
        self.screenshots.mkdir(parents=True, exist_ok=True)
        element.screenshot(str(self.screenshots / f"{name}.png"))

    # Elements

    def wait_for(
        self, look: Callable[[], Found], what: str, seconds: int = SECONDS_FOR_A_PAGE
    ) -> Found:
        """Return what `look` finds, as soon as it finds something."""
        ignored = [StaleElementReferenceException]
        wait = WebDriverWait(self.driver, seconds, poll_frequency=0.25, ignored_exceptions=ignored)
        return wait.until(lambda _: look(), f"not on the page after {seconds} s: {what}")

    def find(self, css: str, text: str = "", seconds: int = SECONDS_FOR_A_PAGE) -> WebElement:
        """The first visible element that contains a text."""

        def look() -> WebElement | None:
            for element in self.driver.find_elements(By.CSS_SELECTOR, css):
                if element.is_displayed() and text in element.text:
                    return element
            return None

        return self.wait_for(look, f"{css} {text!r}", seconds)

    def click(self, css: str, text: str = "") -> None:
        """Click on an element as soon as nothing covers it."""

        def clicked() -> bool:
            element = self.find(css, text)
            self.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)
            try:
                element.click()
            except UNREADY:
                return False
            return True

        self.wait_for(clicked, f"{css} {text!r} free to click on")

    def write(self, css: str, text: str) -> None:
        """Replace the content of a field."""
        field = self.find(css)
        field.send_keys(Keys.CONTROL, "a")
        field.send_keys(text)

    # Upload and history

    def use_history(self, history: str) -> None:
        """Make a history the current one, by its id."""
        self.open(f"history/set_as_current?id={history}")
        self.open()

    def upload_list(self, name: str, paths: Sequence[Path]) -> None:
        """Upload files and build a list of them, sorted by name, with their full names."""
        self.click("#activity-upload")
        self.click("#tab-title-link-collection")
        self.find("#collection #btn-local")
        field = self.driver.find_element(By.CSS_SELECTOR, "#collection input[type=file]")
        field.send_keys("\n".join(map(str, paths)))
        self.click("#collection #btn-start:not(.g-disabled)")
        self.click("#collection #btn-build:not(.g-disabled)")
        self.click("button.sort-items")
        self.write("input.collection-name", name)
        self.click(".custom-switch label", "Remove file extensions?")
        self.click("button.create-collection, .wizard-actions .btn-primary")
        self.wait_for_state(name)
        self.open()  # closes the two windows that stay open

    def upload_files(self, paths: Sequence[Path]) -> None:
        """Upload files as datasets."""
        self.click("#activity-upload")
        self.click("#tab-title-link-regular")
        self.find("#regular #btn-local")
        field = self.driver.find_element(By.CSS_SELECTOR, "#regular input[type=file]")
        field.send_keys("\n".join(map(str, paths)))
        self.click("#regular #btn-start:not(.g-disabled)")
        for path in paths:
            self.wait_for_state(path.name)
        self.open()  # closes the window that stays open

    def wait_for_state(self, name: str, state: str = "ok") -> None:
        """Wait until the newest dataset or collection with a name in the history has a state."""

        def reached() -> bool:
            return self.find(HISTORY_ITEM, name).get_attribute("data-state") == state

        self.wait_for(reached, f"{name}: {state}", SECONDS_FOR_A_JOB)

    def view(self, name: str) -> None:
        """Open the newest dataset with a name, as its eye icon does."""
        self.click(f"#{self.item(name)} .display-btn")

    def open_details(self, name: str) -> None:
        """Expand the newest dataset with a name in the history."""
        self.click(f"#{self.item(name)} .content-title")
        self.find(f"#{self.item(name)} .details")

    def content(self, name: str) -> bytes:
        """The bytes of the newest dataset with a name, as downloaded."""
        dataset = self.item(name).removeprefix("dataset-")
        header = {"x-api-key": self.galaxy.api_key}
        url = f"{self.galaxy.url}/api/datasets/{dataset}/display?raw=true"
        answer = requests.get(url, headers=header, timeout=SECONDS_FOR_A_PAGE)
        answer.raise_for_status()
        return answer.content

    def item(self, name: str) -> str:
        """The element id of the newest dataset with a name in the history."""
        return self.find(HISTORY_ITEM, name).get_attribute("id")

    # Forms

    def open_tool(self, tool: str) -> None:
        self.open(f"?tool_id={tool}")
        self.find("#execute")

    def search_tool(self, name: str) -> None:
        """Search for a tool by its name, and open it."""
        self.open()
        self.write('input[placeholder="search tools"]', name)
        self.click("a.title-link", name)
        self.find("#execute")

    def choose(self, parameter: str, option: str) -> None:
        """Choose an option of a list, or a dataset or collection, by part of its text."""
        field = f'[id="form-element-{parameter}"] .multiselect'

        def chosen() -> bool:
            """Whether it is; a form that is processing a change closes its lists again."""
            if option in self.find(f"{field}__tags").text:
                return True
            listed = self.driver.find_elements(By.CSS_SELECTOR, f"{field}__option")
            listed = [each for each in listed if each.is_displayed() and option in each.text]
            with suppress(*UNREADY):
                (listed or [self.find(f"{field}__select")])[0].click()
            return False

        self.wait_for(chosen, f"{option!r} chosen for {parameter}")

    def remove(self, parameter: str, option: str) -> None:
        """Remove one of several datasets that are chosen, by part of its name."""
        tags = f'[id="form-element-{parameter}"] .multiselect__tag'
        tag = self.find(tags, option)
        tag.find_element(By.CSS_SELECTOR, ".multiselect__tag-icon").click()
        self.wait_for(lambda: option not in self.find(tags).text, f"{option} removed")

    def switch_on(self, parameter: str) -> None:
        self.click(f'[id="form-element-{parameter}"] .custom-switch label')

    def enter(self, parameter: str, entry: str) -> None:
        """Fill in a parameter: write a text, or choose an option."""
        field = f'[id="form-element-{parameter}"] textarea'
        if self.driver.find_elements(By.CSS_SELECTOR, field):
            self.write(field, entry)
        else:
            self.choose(parameter, entry)

    def tick(self, parameter: str, option: str) -> None:
        """Tick one of several boxes, by part of its label."""
        self.click(f'[id="form-element-{parameter}"] .custom-checkbox label', option)

    def run_tool(self) -> None:
        """Click until the tool runs: a form that is processing a change ignores clicks."""

        def runs() -> bool:
            if self.driver.find_elements(By.CSS_SELECTOR, ".donemessagelarge"):
                return True
            for button in self.driver.find_elements(By.CSS_SELECTOR, "#execute:not(.g-disabled)"):
                with suppress(*UNREADY):
                    button.click()
            return False

        self.wait_for(runs, "a tool that runs")

    # Workflows

    def import_workflow(self, path: Path) -> None:
        """Import a workflow from a file; Galaxy then lists all workflows, the newest first."""
        self.open("workflows/import")
        self.click(".workflow-import-file-link")
        self.find(".custom-file-label", "No file chosen")
        field = self.driver.find_element(By.CSS_SELECTOR, 'input[type=file][accept*=".ga"]')
        field.send_keys(str(path))
        self.find(".custom-file-label", path.name)
        self.click(".go-next-btn:not(:disabled)")
        self.find(".workflow-card")

    def open_run_form(self, workflow: str) -> None:
        """Open the run form of the newest workflow with a name, from the list of workflows."""
        title = self.find(".workflow-card .g-card-title-truncate", workflow)
        card = title.get_attribute("id").removeprefix("g-card-title-link-")
        self.click(f"#g-card-action-workflow-run-{card}")
        self.find("#run-workflow")

    def run_workflow(self, last_output: str) -> None:
        """Run the workflow, wait for the last output, and open the report."""
        self.click("#run-workflow")
        self.wait_for_state(last_output)
        self.click('a.nav-link[href$="/report"]')

    # Tours

    def take_tour(
        self, tour: str, steps: Sequence[dict[str, str]], entries: dict[str, tuple[str, str]]
    ) -> None:
        """Take a tour by its id: at each step, find what it points at, and continue.

        Entries are made in the form at the steps with these titles: parameter and entry.
        """
        self.open(f"tours/{tour}")
        for number, step in enumerate(steps, 1):
            self.find(".tour-element .tour-title", step["title"])
            if "element" in step:
                self.find(f"{step['element']}:not(.g-disabled)")  # a form that changes is not ready
            if step["title"] in entries:
                self.enter(*entries[step["title"]])
            self.screenshot(f"tour {tour}, {number}")
            self.click(".tour-element .tour-end" if step is steps[-1] else ".tour-next")
