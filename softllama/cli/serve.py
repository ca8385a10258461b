"""softllama serve"""

from __future__ import annotations

from typing import Any

import click

from softllama.cli import note
from softllama.cli.model_options import ModelOptions, model_options_with
from softllama.cli.options import complete_policy, option


@click.command()
@option(
    "--host", default="127.0.0.1", show_default=True, help="The address to listen on. Another one needs an API key."
)
@option("--port", type=click.IntRange(0, 65535), default=8080, show_default=True, help="0 takes a free one.")
@option(
    "--streams",
    type=click.IntRange(1, 64),
    default=8,
    show_default=True,
    other_names=["-np", "--parallel"],
    help="Requests that are decoded side by side. Each has room for --n-ctx positions.",
)
@option("--queue", type=click.IntRange(0), default=64, show_default=True, help="Requests that may wait for a place.")
@option("--policy", metavar="POLICY", shell_complete=complete_policy, help="Of requests that name none.")
@option("--api-key", metavar="KEY", help="What clients must send as their API key.")
@option("--cors", metavar="ORIGIN", multiple=True, help="A web page that may use the server. May be repeated.")
@option("--allow-host", metavar="NAME", multiple=True, help="A further name of this server. May be repeated.")
@option("--fixed-batch", is_flag=True, help="Batches of one shape: answers do not depend on what runs beside them.")
@option("--grace", type=click.FloatRange(0), default=10.0, show_default=True, help="Seconds to end in, when stopped.")
@option("--open", "open_page", is_flag=True, help="Open the page in a browser.")
@model_options_with("the bundled model", argument=True)
def command(options: ModelOptions, port: int, open_page: bool, **values: Any) -> None:
    """An HTTP server that speaks OpenAI's API. Each request may choose how its thinking is decoded.

    \b
    softllama serve -m model.gguf
    softllama serve -m user/repo:Q4_K_M --port 8000 --streams 4 --policy soft_thinking

    The field {"softllama": {"policy": "gumbel"}} chooses a policy; so does a model's name, NAME@gumbel, for clients that cannot
    send the field. docs/serve.md has recipes. Ctrl-C stops the server.
    """
    from softllama import serve

    serve.check_installed()
    from softllama.serve import runner
    from softllama.serve.settings import Settings

    if values["policy"] is not None:
        from softllama import policy

        policy.load_files(values["policy"])  # a request may then name it, too; it cannot name another file
    hosts = values.pop("allow_host")
    settings = Settings(n_ctx=options.n_ctx, hosts=hosts, **values)

    def ready(url: str) -> None:
        if not options.quiet:
            note(f"serving at {url}, {settings.streams} streams; API: {url}/v1, documentation: {url}/docs")
        if open_page:
            runner.browse(url)

    runner.run(options.load, settings, port, ready=ready)
