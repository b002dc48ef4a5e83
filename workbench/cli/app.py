"""workbench app"""

import errno
import importlib.util
import ipaddress
import os
import socket
import sys
from pathlib import Path
from typing import Annotated

import typer

from workbench.cli import options as o
from workbench.errors import UsageError

_RISK = (
    "Another address than this machine's own: whoever reaches it can talk to the model, without a password, and sees "
    "all runs."
)


def command(
    model: o.EmbeddedModel = None,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Where the browser finds it.")] = 8501,
    address: Annotated[str, typer.Option(help=_RISK)] = "127.0.0.1",
) -> None:
    """The dashboard, on 127.0.0.1."""
    shown = f"[{address}]" if ":" in address else address
    _require_free(address, port)
    if not _is_ours(address):
        typer.echo(f"Careful: {_RISK}", err=True)
    typer.echo(f"The dashboard opens at http://{shown}:{port} (Ctrl-C ends it).", err=True)
    flags = [f"--server.address={address}", f"--server.port={port}", f"--browser.serverAddress={address}"]
    script = [sys.executable, "-m", "streamlit", "run", str(entry()), *flags, *(["--", model] if model else [])]
    os.execv(sys.executable, script)  # one process: what ends it ends the server


def entry() -> Path:
    """`app.py`: beside the packages in a checkout, within them where the wheel is installed."""
    found = importlib.util.find_spec("workbench")
    assert found is not None
    assert found.origin is not None
    package = Path(found.origin).parent
    installed = package / "front" / "app.py"
    return installed if installed.exists() else package.parent / "app.py"


def _require_free(address: str, port: int) -> None:
    """Raise UsageError where nothing can be served at this address and port, before anybody is sent there."""
    kind = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(kind) as tried:
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            tried.bind((address, port))
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise UsageError(f"Port {port} is in use already; choose another with --port.") from error
        raise UsageError(f"{address}:{port} cannot be used ({error.strerror}); see --address and --port.") from error


def _is_ours(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return address == "localhost"
