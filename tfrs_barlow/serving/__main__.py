"""Serves an export on this machine, as TensorFlow Serving would, with a page to try it.

    python -m tfrs_barlow.serving MODEL_DIR
    python -m tfrs_barlow.serving MODEL_DIR --titles=movies.csv --users=ratings.csv
    python -m tfrs_barlow.serving

The last trains a small model of made-up films, once, and serves that. A new version in
the folder of the model replaces the old one while requests continue.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import pathlib
import socket
from collections.abc import Sequence

try:
    import grpc
    import tensorflow_serving.apis  # noqa: F401
    import uvicorn
    from starlette.applications import Starlette
    from starlette.middleware import Middleware
except ImportError as missing:
    raise SystemExit(
        f"error: the local server needs more packages ({missing}). Install them with "
        "pip install 'tfrs-barlow[serve]'."
    ) from missing

from tfrs_barlow.serving.local import demo, grpc_api, page, rest_api, tables
from tfrs_barlow.serving.local.inputs import MAX_BODY_BYTES, MAX_ELEMENTS
from tfrs_barlow.serving.local.page import Guide
from tfrs_barlow.serving.local.versions import Versions

_DEMO = pathlib.Path("runs") / "serving_demo"


def main(arguments: Sequence[str] | None = None) -> None:
    """Serves until Ctrl-C."""
    parser = _parser()
    flags = parser.parse_args(arguments)
    try:
        listener = _listen(flags.host, flags.port, "--port")
        if flags.model is None:
            _use_demo(flags)
        load = functools.partial(
            Guide,
            titles=flags.titles and tables.read_titles(flags.titles),
            histories=flags.users and tables.read_histories(flags.users),
            max_elements=flags.max_elements,
        )
        versions = Versions(flags.model, load, flags.name, flags.max_body_bytes)
        grpc_server, grpc_port = _serve_grpc(versions, flags.host, flags.grpc_port)
    except (ImportError, OSError, ValueError) as error:
        parser.exit(1, f"error: {error}\n")
    stop = versions.watch()
    url = f"http://{flags.host}:{listener.getsockname()[1]}"
    print(
        f"Serving {versions.name}, version {versions.current.version}\n"
        f"  page  {url}/\n"
        f"  REST  {url}/v1/models/{versions.name}:predict\n"
        f"  gRPC  {flags.host}:{grpc_port}",
        flush=True,
    )
    hosts = ["localhost", "127.0.0.1", "[::1]", flags.host, *flags.allow_host]
    app = Starlette(
        routes=page.routes(versions) + rest_api.routes(versions),
        exception_handlers=rest_api.error_handlers(),
        middleware=[Middleware(rest_api.HostCheck, hosts=[*map(str.lower, hosts)])],
    )
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
    with contextlib.suppress(KeyboardInterrupt):
        server.run(sockets=[listener])
    stop.set()
    grpc_server.stop(grace=5).wait()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tfrs_barlow.serving",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    path = functools.partial(parser.add_argument, type=pathlib.Path)
    path(
        "model",
        nargs="?",
        metavar="MODEL_DIR",
        help="an export, or the folder of its versions (default: a small model)",
    )
    path("--titles", help="a CSV file with the columns item, title")
    path("--users", help="a CSV file with the columns user, item and perhaps time")
    parser.add_argument("--name", help="of the model (default: that of its folder)")
    parser.add_argument("--host", default="localhost", help="default: %(default)s")
    port = functools.partial(parser.add_argument, type=int)
    port("--port", default=8501, help="of page and REST (default: %(default)s)")
    port("--grpc_port", default=8500, help="default: %(default)s")
    add = functools.partial(parser.add_argument, action="append", default=[])
    add("--allow_host", metavar="NAME", help="another name of it that browsers may use")
    limit = functools.partial(parser.add_argument, type=_limit)
    limit("--max_body_bytes", default=MAX_BODY_BYTES, help="default: %(default)s")
    rows = "of a request, rows times their width (default: %(default)s)"
    limit("--max_elements", default=MAX_ELEMENTS, help=rows)
    return parser


def _limit(text: str) -> int:
    if not 1 <= int(text) < 2**31:
        raise ValueError(text)  # argparse names the flag.
    return int(text)


def _use_demo(flags: argparse.Namespace) -> None:
    if not (_DEMO / "films" / "1").exists():
        print(f"Training a small model into {_DEMO}: half a minute.", flush=True)
        demo.make(_DEMO)
    flags.model = _DEMO / "films"
    flags.titles = flags.titles or _DEMO / "titles.csv"
    flags.users = flags.users or _DEMO / "users.csv"


def _listen(host: str, port: int, flag: str) -> socket.socket:
    try:
        return socket.create_server((host, port))
    except (OSError, OverflowError) as error:
        raise OSError(
            f"{flag} must be a free port of {host}, but {port} is not: {error}"
        ) from error


def _serve_grpc(versions: Versions, host: str, port: int) -> tuple[grpc.Server, int]:
    # gRPC does not say why a port is not free.
    _listen(host, port, "--grpc_port").close()
    return grpc_api.start(versions, f"{host}:{port}")


if __name__ == "__main__":
    main()
