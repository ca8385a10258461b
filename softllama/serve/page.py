"""The page at /: one file with its scripts and its style in it, which asks for nothing but the server's own routes.

Nothing that a model or a file says reaches it as HTML: the scripts set all texts as text, and the content security policy lets
only them run, by their hash. The heat map is that of the trace page (softllama/trace/heatmap.js). The page holds an empty trace
page, too, which it fills to save a run as one. Knows the files in web/. Knows no model, and needs no key: it holds no secret.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache

from fastapi import APIRouter
from starlette.responses import HTMLResponse, Response

from softllama.show import page as pages
from softllama.trace import page as trace_page
from softllama.trace.data import TraceData

WEB = "softllama.serve/web/"
_FILES = (  # in this order: each uses only those before it
    "client npz record picture charts copy weights page panel run mix think branch main"
)
SCRIPTS = (
    "softllama.show/dom.js",
    "softllama.trace/heatmap.js",
    *(f"{WEB}{name}.js" for name in _FILES.split()),
)
STYLES = ("softllama.show/look.css", "softllama.trace/heatmap.css", f"{WEB}page.css")
ASKS = "connect-src 'self'; img-src data:"  # its own server; the icon that saves a request for one


@dataclass(frozen=True)
class Page:
    """The page as text, and the headers that it is sent with."""

    text: str
    headers: dict[str, str]


@cache
def page() -> Page:
    """The page, made once."""
    script, style = pages.joined(*SCRIPTS), pages.joined(*STYLES)
    policy = pages.content_policy(script, style, ASKS)
    text = pages.render(
        "softllama.serve", "web/page.html", csp=policy, script=script, style=style, trace_page=_trace_page()
    )
    headers = {
        "Content-Security-Policy": f"{policy}; frame-ancestors 'none'",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "no-cache",
    }
    return Page(text, headers)


def _trace_page() -> str:
    """The page of a trace without steps, as a JSON text in which nothing can end its element."""
    empty = TraceData(steps=(), prompt=(), prompt_text="", policy="", seed=0, stop_reason="")
    return json.dumps(trace_page.page(empty)).replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def router() -> APIRouter:
    """The route."""
    routes = APIRouter()

    @routes.api_route("/", methods=["GET", "HEAD"], include_in_schema=False)
    def index() -> Response:
        """The page."""
        made = page()
        return HTMLResponse(made.text, headers=made.headers)

    return routes
