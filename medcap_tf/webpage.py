"""The web page: drop an image in, read the caption, point at its words. Gradio around the report's own view.

The view is the report's page of one image, in a frame without rights: whatever a file is called, and whatever a server
answers, stays text there.
"""

from __future__ import annotations

import dataclasses
import os
import signal
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator, MutableMapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from medcap_tf.caption import Caption
from medcap_tf.data.images import read_image
from medcap_tf.errors import InputError
from medcap_tf.explain.explanation import Explanation, from_caption
from medcap_tf.explain.report import framed, write_report

# Read when Gradio is loaded. Nothing here asks anything of a network but the model's server.
os.environ.update(GRADIO_ANALYTICS_ENABLED="False", HF_HUB_DISABLE_TELEMETRY="1", HF_HUB_OFFLINE="1")

_TITLE = "Captions for medical images, and why"
_LEAD = "Drop an image in; point at a word of its caption to see where the model looked when it generated it."
_RESEARCH = "Software for research, not a medical device."
_KEPT = 1800  # seconds that uploads and pages to download are kept; they are looked through as often
_AT_ONCE = 2  # images captioned at a time; the others wait in the queue

# The browser is told what Gradio is told: this page and nothing else. Gradio's own pages compile their templates.
_POLICY = (
    "default-src 'self' data: blob: 'unsafe-inline' 'unsafe-eval'; object-src 'none'; base-uri 'self'; "
    "frame-ancestors 'self'; form-action 'self'"
)
_STYLE = """
.gradio-container { width: 100%; max-width: 1180px !important; margin: 0 auto !important; }
#image [data-testid="status-tracker"] { display: none; }
#view, #view > * { padding: 0; }
#download { align-self: start; flex: none; }
"""
# The frame says how tall its content is; an image in the clipboard goes in by Ctrl+V, wherever the focus is.
_SCRIPT = """() => {
  addEventListener("message", ({ source, data }) => {
    const frame = document.querySelector("#view iframe");
    if (frame && source === frame.contentWindow && Number.isFinite(data?.height)) {
      frame.style.height = `${Math.min(20000, Math.max(80, Math.ceil(data.height)))}px`;
    }
  });
  addEventListener("paste", (event) => {
    const input = document.querySelector("#image input[type=file]");
    if (!input || !event.clipboardData?.files.length) return;
    event.preventDefault();
    input.files = event.clipboardData.files;
    input.dispatchEvent(new Event("change", { bubbles: true }));
  });
}"""


class CaptionsImages(Protocol):
    """A run's captioner, an export's or a server's."""

    def caption(self, paths: Sequence[Path]) -> Iterator[Caption]:
        """A caption an image, or its error."""
        ...


class Address(NamedTuple):
    """Where the page answers, and what it takes."""

    host: str = "127.0.0.1"
    port: int | None = None  # None: 7860 or the next that is free
    max_megabytes: int = 20


# A caption of a readable image, and that image as uint8 [H, W, 3] -> the explanation there is of it.
Tell = Callable[[Caption, np.ndarray], Explanation]


def serve(captioner: CaptionsImages, address: Address, tell: Tell = from_caption) -> None:
    """Show the page until interrupted; raises InputError where Gradio is missing or the port is taken."""
    # People's images go when the page ends, also where it is asked to end as a service is.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with tempfile.TemporaryDirectory(prefix="medcap-page-") as folder:
        os.environ["GRADIO_TEMP_DIR"] = folder
        blocks = _build(captioner, tell, Path(folder))
        try:
            _, url, _ = blocks.launch(**_settings(address))
        except OSError as error:
            raise InputError(f"--host {address.host} --port {address.port}: cannot be used ({error})") from error
        print(f"{url} (Ctrl+C ends it)", flush=True)
        blocks.block_thread()


def explain_file(captioner: CaptionsImages, path: Path, tell: Tell = from_caption) -> Explanation:
    """One uploaded file's caption and explanation, or its error, under its own name without the folder it lies in."""
    try:
        # First of all: what is too large or no image here does not reach the model.
        image = read_image(path)
        (caption,) = captioner.caption([path])
    except InputError as error:
        caption = Caption(path, error=str(error))
    explanation = Explanation(caption) if caption.error else tell(caption, image)
    reason = caption.error.replace(f"{path.parent}{os.sep}", "")
    return dataclasses.replace(explanation, caption=dataclasses.replace(caption, path=Path(path.name), error=reason))


def _gradio() -> Any:
    try:
        import gradio
    except ImportError:
        raise InputError("the web page needs Gradio; run: pip install 'medcap_tf[demo]'") from None
    return gradio


def _build(captioner: CaptionsImages, tell: Tell, folder: Path) -> Any:
    gradio = _gradio()

    def answer(upload: str) -> tuple[None, str, Any]:
        """An emptied place for the next image, the view, the button with the page behind it."""
        explanation = explain_file(captioner, Path(upload), tell)
        if explanation.caption.error:
            return None, framed(explanation), gradio.update(visible=False)
        page = Path(tempfile.mkdtemp(dir=folder)) / "report.html"
        write_report(page, [explanation], _TITLE)
        return None, framed(explanation), gradio.update(value=str(page), visible=True)

    with gradio.Blocks(title=_TITLE, analytics_enabled=False, delete_cache=(_KEPT, _KEPT)) as blocks:
        gradio.Markdown(f"# {_TITLE}\n{_LEAD} **{_RESEARCH}**")
        upload = gradio.File(label="Image: drop, paste or choose", elem_id="image", height=140)
        view = gradio.HTML(elem_id="view", js_on_load=None)
        page = gradio.DownloadButton("Download the page", visible=False, elem_id="download", size="md")
        upload.upload(
            answer, upload, [upload, view, page],
            api_visibility="private", concurrency_limit=_AT_ONCE, show_progress="minimal", show_progress_on=view,
        )  # fmt: skip
    return blocks.queue(max_size=64, api_open=False)


def _settings(address: Address) -> dict[str, Any]:
    from starlette.middleware import Middleware

    return {
        "server_name": address.host,
        "server_port": address.port,
        "max_file_size": f"{address.max_megabytes}mb",
        "prevent_thread_lock": True,
        "quiet": True,
        **dict.fromkeys(("share", "enable_monitoring", "ssr_mode", "pwa", "mcp_server", "run_history"), False),
        "footer_links": [],
        "theme": _gradio().themes.Base(font=["system-ui", "sans-serif"], font_mono=["monospace"]),
        "css": _STYLE,
        "js": _SCRIPT,
        "app_kwargs": {"middleware": [Middleware(_WithPolicy)]},
    }


class _WithPolicy:
    """Adds the policy to every answer, as ASGI middleware."""

    def __init__(self, app: Callable[..., Awaitable[None]]):
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Callable[..., Awaitable[None]]) -> None:
        async def sending(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), (b"content-security-policy", _POLICY.encode())]
            await send(message)

        await self.app(scope, receive, sending)
