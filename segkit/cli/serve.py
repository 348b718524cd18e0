"""Answers predictions over HTTP: segkit serve FILE [--host 127.0.0.1] [--port 8000].

FILE is an exported graph (.onnx, .xml), which needs no torch, or a checkpoint. POST an image to /predict; / is a page
to try it, /docs describes the end points.
"""

import argparse
import math
import os
import sys
from pathlib import Path

from segkit.cli import common
from segkit.registry import ConfigError

TOKEN = "SEGKIT_TOKEN"
"""The variable that holds the token, so that it does not stand in the list of processes."""


def main(argv: list[str] | None = None) -> int:
    """Runs `segkit serve`; returns the exit code."""
    arguments = common.parser("serve", __doc__ or "")
    arguments.add_argument("file", metavar="FILE", help="an exported graph (.onnx, .xml) or a checkpoint")
    arguments.add_argument("--host", default="127.0.0.1", help="address to listen at; default 127.0.0.1, this machine")
    arguments.add_argument("--port", type=int, default=8000, help="default 8000; 0 takes a free one")
    arguments.add_argument("--batch", type=int, default=8, help="images of a batch at most; default 8")
    arguments.add_argument(
        "--wait-ms", type=float, default=3, metavar="MS", help="how long an image waits for others; default 3"
    )
    arguments.add_argument("--max-mb", type=float, default=20, metavar="MB", help="size of a request; default 20")
    arguments.add_argument(
        "--max-pixels", type=int, default=32_000_000, metavar="N", help="of an image; default 32,000,000"
    )
    arguments.add_argument(
        "--timeout", type=float, default=30, metavar="SECONDS", help="from a request to its answer; default 30"
    )
    arguments.add_argument(
        "--queue", type=int, default=256, metavar="N", help="requests under way at most, others get 503; default 256"
    )
    arguments.add_argument("--threads", type=int, metavar="N", help="of the model; default as the runtime chooses")
    arguments.add_argument(
        "--token", help=f"asked for as 'Authorization: Bearer TOKEN'; better in the variable {TOKEN}; default none"
    )
    arguments.add_argument(
        "--cors", nargs="+", default=[], metavar="ORIGIN", help="origins whose pages may call it; default none"
    )
    common.add_device(arguments)
    common.add_trust(arguments)
    return common.run(_serve, arguments.parse_args(argv))


def _serve(args: argparse.Namespace) -> int:
    _check(args)
    try:
        import starlette  # noqa: F401
        import uvicorn
    except ImportError as error:
        raise ConfigError('segkit serve: needs starlette and uvicorn; run: pip install "segkit[web]"') from error
    from segkit.serve.app import Limits, Service, build_app
    from segkit.serve.predictor import open_predictor

    predictor = open_predictor(args.file, args.device, args.threads, trust=args.trust)
    limits = Limits(
        batch=args.batch,
        wait=args.wait_ms / 1000,
        bytes=int(args.max_mb * 1e6),
        pixels=args.max_pixels,
        seconds=args.timeout,
        queue=args.queue,
        token=_token(args.token),
        origins=args.cors,
    )
    if limits.token is None and args.host not in ("127.0.0.1", "::1", "localhost"):
        print(f"warning: everybody who reaches {args.host} may send images; set {TOKEN}", file=sys.stderr)
    service = Service(predictor, limits, Path(args.file).name)
    config = uvicorn.Config(
        build_app(service),
        host=args.host,
        port=args.port,
        log_level="warning",
        # requests under way are finished, however slow
        timeout_graceful_shutdown=math.ceil(2 * args.timeout),
        server_header=False,
    )

    class Server(uvicorn.Server):
        """Tells its address when it listens, and takes no new requests once it stops."""

        async def startup(self, sockets: list | None = None) -> None:
            await super().startup(sockets)
            for server in self.servers:
                host, port = server.sockets[0].getsockname()[:2]
                shown = f"[{host}]" if ":" in host else host
                print(f"serving {args.file} at http://{shown}:{port} (Ctrl-C stops it)", flush=True)

        async def shutdown(self, sockets: list | None = None) -> None:
            service.is_ready = False
            await super().shutdown(sockets)

    server = Server(config)
    try:
        server.run()
    except SystemExit as error:  # uvicorn's way to say that it cannot listen; its log has the reason
        raise ConfigError(
            f"--host {args.host} --port {args.port}: cannot listen there; choose another --host or --port"
        ) from error
    except KeyboardInterrupt:
        pass
    return 0


def _token(given: str | None) -> str | None:
    """The token of the option or the variable, None for none."""
    source, token = ("--token", given) if given else (TOKEN, os.environ.get(TOKEN, ""))
    if not (token.isascii() and token.isprintable() and token == token.strip()):
        raise ConfigError(
            f"{source}: requests send it in a header; it must be of printable ASCII letters, without blanks around it"
        )
    return token or None


def _check(args: argparse.Namespace) -> None:
    for option, low in (("batch", 1), ("queue", 1), ("max_pixels", 1), ("wait_ms", 0), ("port", 0)):
        if not getattr(args, option) >= low:
            raise ConfigError(f"--{option.replace('_', '-')} {getattr(args, option)}: must be {low} or more")
    for option in ("max_mb", "timeout"):
        if not 0 < getattr(args, option) < math.inf:
            raise ConfigError(f"--{option.replace('_', '-')} {getattr(args, option)}: must be a number above 0")
    if not args.host.strip():
        raise ConfigError("--host '': must be an address; 127.0.0.1 is this machine alone, 0.0.0.0 every address of it")
    if args.port > 65535:
        raise ConfigError(f"--port {args.port}: must be at most 65535")
