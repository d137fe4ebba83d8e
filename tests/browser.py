"""A headless Chromium for tests: open a page, look for what is cut off, run a notebook in JupyterLab, see that a picture is not blank."""
import io
import json
import os
import secrets
import signal
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

from PIL import Image

from run_support import free_port

FAULTS = r"""
() => {
  const faults = [], wide = document.documentElement.clientWidth, root = document.scrollingElement;
  const name = e => e.tagName.toLowerCase() + (e.id ? '#' + e.id : '') + ' "' + (e.alt || e.innerText || '').trim().slice(0, 40) + '"';
  if (root.scrollWidth > wide + 1) faults.push(`the page is ${root.scrollWidth} px wide, its window ${wide}`);
  const shown = e => { const s = getComputedStyle(e), b = e.getBoundingClientRect(); return s.visibility !== 'hidden' && s.display !== 'none' && b.width > 1 && b.height > 1; };
  const blamed = new Set();
  for (const e of document.querySelectorAll('body *')) {
    if (!shown(e)) continue;
    const box = e.getBoundingClientRect(), style = getComputedStyle(e);
    if (box.right > wide + 1 || box.left + scrollX < -1) {
      if (!blamed.has(e.parentElement)) faults.push(`${name(e)} reaches from ${Math.round(box.left)} to ${Math.round(box.right)} px, the window ends at ${wide}`);
      blamed.add(e);
    }
    const clips = v => ['hidden', 'clip', 'auto', 'scroll'].includes(v);
    const readable = e.innerText && e.innerText.trim() || e.querySelector('img, svg, canvas');
    if (readable && clips(style.overflowX) && e.scrollWidth > e.clientWidth + 2 && e.clientWidth > 1)
      faults.push(`${name(e)} shows ${e.clientWidth} of ${e.scrollWidth} px of its width`);
  }
  for (const img of document.images)
    if (!img.complete || img.naturalWidth === 0) faults.push(`the image ${name(img)} did not load`);
  return faults;
}
"""


@contextmanager
def open_browser(chromium, width=1280, height=900):
    """A page of a fresh headless Chromium; `page.console_errors` collects what its console complains of."""
    from playwright.sync_api import expect, sync_playwright

    expect.set_options(timeout=60_000)  # what is drawn on a busy machine comes late; a test that would fail fails then too
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, headless=True, args=["--no-sandbox", "--disable-dev-shm-usage"])
        page = browser.new_page(viewport={"width": width, "height": height})
        page.console_errors = []
        page.on("console", lambda message: page.console_errors.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: page.console_errors.append(str(error)))
        try:
            yield page
        finally:
            browser.close()


def page_faults(page):
    """What a reader would not see: elements beyond the window or clipped by their box, and images that did not load."""
    return page.evaluate(FAULTS)


def is_blank(png, colors=12):
    """Whether a screenshot shows (almost) nothing: fewer than so many colors."""
    found = Image.open(io.BytesIO(png)).convert("RGB").getcolors(maxcolors=2**24)
    return len(found) < colors


def save_shot(page, path, full_page=False):
    """Save a screenshot and return its bytes."""
    png = page.screenshot(full_page=full_page)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_bytes(png)
    return png


def _wait_until_up(process, url, log, seconds=90):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        try:
            urllib.request.urlopen(url, timeout=2).close()
            return
        except OSError:
            time.sleep(0.15)
    raise RuntimeError(f"JupyterLab did not answer in {seconds} s:\n{log.read_text()[-2000:]}")


def _stop(process):
    """End a server and its kernels, which share its process group."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(15)


@contextmanager
def jupyterlab(root, env=None):
    """A JupyterLab of its own on a folder; gives a function from a notebook's name to its address."""
    root, port, token = Path(root), free_port(), secrets.token_hex(8)
    config = root / ".jupyter"
    quiet = config / "lab" / "user-settings" / "@jupyterlab" / "apputils-extension" / "notification.jupyterlab-settings"
    quiet.parent.mkdir(parents=True, exist_ok=True)  # no news pop-up over the page
    quiet.write_text(json.dumps({"fetchNews": "false", "checkForUpdates": False}))
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--ServerApp.ip=127.0.0.1", f"--ServerApp.port={port}", "--ServerApp.port_retries=0",
               f"--IdentityProvider.token={token}", f"--ServerApp.root_dir={root}", "--ServerApp.allow_root=True"]
    log = root / "jupyterlab.log"
    with log.open("w") as out:
        process = subprocess.Popen(command, cwd=root, stdout=out, stderr=out, env={**os.environ, "JUPYTER_CONFIG_DIR": str(config), **(env or {})}, start_new_session=True)
    try:
        _wait_until_up(process, f"http://127.0.0.1:{port}/api/status?token={token}", log)
        yield lambda notebook: f"http://127.0.0.1:{port}/lab/tree/{notebook}?token={token}&reset"
    finally:
        _stop(process)


def run_all(page, url, seconds=90):
    """Open a notebook in the Lab, run all of its cells and wait until they are done."""
    from playwright.sync_api import expect

    page.set_default_timeout(seconds * 1000)
    page.goto(url)
    page.locator(".jp-Notebook:visible .jp-Cell").first.wait_for()
    expect(page.locator(".jp-Toolbar-kernelName:visible").first).to_contain_text("Python", timeout=seconds * 1000)
    idle = page.locator(".jp-Notebook-ExecutionIndicator[data-status=idle]").first
    idle.wait_for(state="attached")
    prompts, question = page.locator(".jp-Notebook:visible .jp-InputPrompt"), page.locator("dialog.jp-Dialog .jp-mod-accept")
    for _ in range(15):  # "Run All" before the kernel's socket is up is dropped, or asks for a kernel: answer, and choose it again
        if question.count():
            question.first.click()
        page.get_by_role("menuitem", name="Run", exact=True).click()
        page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
        page.wait_for_timeout(800)
        if not question.count() and any(text.strip() not in ("", "[ ]:") for text in prompts.all_inner_texts()):
            break
    idle.wait_for(state="attached")


def notebook_errors(page):
    """The error outputs of the notebook that is open in the Lab."""
    return page.locator('.jp-RenderedText[data-mime-type="application/vnd.jupyter.error"]').all_inner_texts()
