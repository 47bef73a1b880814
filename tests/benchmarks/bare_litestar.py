"""The smallest server of the framework, and nothing beside it: `python bare_litestar.py PORT`."""

import sys

import uvicorn
from litestar import Litestar, get


@get("/readyz")
async def readyz() -> dict[str, str]:
    """Ready at once."""
    return {"status": "ready"}


if __name__ == "__main__":
    uvicorn.run(
        Litestar([readyz], openapi_config=None, logging_config=None),
        port=int(sys.argv[1]),
        http="httptools",
        loop="asyncio",
        ws="none",
        access_log=False,
        log_config=None,
    )
