"""`python -m tests.images.two_gateways KEY URL URL`: asks two gateways in turn, and prints what they said."""

import asyncio
import json
import sys

import httpx
import websockets

UNKNOWN_JOB = "job_1700000000000_abcdef12"


def main(key: str, *urls: str) -> None:
    """What is left of the limit after each request; how the streams of one ticket end."""
    headers = {"Authorization": f"Bearer {key}"}
    asked = [httpx.get(f"{url}/api/jobs", headers=headers) for url in (*urls, *urls)]
    given = httpx.post(f"{urls[0]}/api/ws-ticket", headers=headers, json={"job_id": UNKNOWN_JOB})
    assert given.status_code == 200, given.text
    stream = f"{urls[1].replace('http', 'ws')}/ws/training/{UNKNOWN_JOB}?ticket={given.json()['ticket']}"
    print(
        json.dumps(
            {
                "remaining": [int(one.headers["RateLimit-Remaining"]) for one in asked],
                "close_codes": [asyncio.run(_closed(stream)) for _ in range(2)],
            }
        )
    )


async def _closed(stream: str) -> int | None:
    async with asyncio.timeout(20), websockets.connect(stream) as socket:
        await socket.wait_closed()
        return socket.close_code


if __name__ == "__main__":
    main(*sys.argv[1:])
