"""What happens once, as the server starts.

1. Before it answers: the front page's modules are read, so that the first visitor does not wait for them.
2. Soon after: the engine begins to open the model, if no visitor's page has started it before. Not at once: importing
   torch would hold a page up that is asked for meanwhile.
"""

import asyncio
import importlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

SCRIPT = Path(__file__).with_name("script.py")
GRACE = 2.0  # seconds in which a waiting browser has its first page


@asynccontextmanager
async def started(app: object) -> AsyncIterator[None]:
    """The server's life: Streamlit's `lifespan`."""
    from workbench.dashboard.parts.engine import engine

    importlib.import_module("workbench.dashboard.views.start")
    begins = asyncio.get_running_loop().call_later(GRACE, lambda: engine().start())
    try:
        yield
    finally:
        begins.cancel()
