"""Requests per second through HTTP: this service and the one a user would write, closed loops in turn; then overload.

    python benchmarks/serving_http.py [--rounds 5] [--seconds 12]      # the closed loops
    python benchmarks/serving_http.py --overload 300                   # then, into the same file, the overload

Both serve the reference model at full size (``benchmarks/reference.py``), this one also in eight bits, to 16 clients
that each send the next request when the last is answered. Then this service alone gets four times what it can answer,
at even intervals.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import aiohttp
import httpx
import numpy as np
from PIL import Image

from benchmarks import harness, reference

CLIENTS, TIMES = 16, 4
CAPACITY_S, MEMORY_S = 10.0, 10.0
SETTINGS = {"VLP_RUNTIME": "auto", "VLP_TOLERANCE": "0.02"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=12, help="of a round and side")
    parser.add_argument("--overload", type=float, help="seconds of overload, instead of the closed loops")
    parser.add_argument("--work", type=Path, help="where the reference bundle is kept between runs")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        bundle = reference.write(arguments.work or Path(folder))
        if arguments.overload is None:
            light = reference.write_int8(arguments.work or Path(folder))
            harness.write("serving_http", measure(bundle, light, arguments.rounds, arguments.seconds))
            return
        with harness.served([sys.executable, "-m", "service", "--bundle", str(bundle)], **SETTINGS) as (url, pid):
            capacity = len(asyncio.run(closed_loop(url, {"texts": reference.TEXT}, CAPACITY_S))) / CAPACITY_S
            found = asyncio.run(overloaded(url, pid, capacity, arguments.overload))
        harness.add("serving_http", "overload", found)


def measure(bundle: Path, light: Path, rounds: int, seconds: float) -> dict[str, Any]:
    """Requests a second and their tails: the plain service, this one, and this one with the bundle in eight bits."""
    bento = [sys.executable, "-m", "bentoml", "serve", "benchmarks.plain_service:Plain", "--host", "127.0.0.1"]
    ours_command, int8_command = ([sys.executable, "-m", "service", "--bundle", str(each)] for each in (bundle, light))
    samples: dict[str, list[list[float]]] = {"ours": [], "int8": [], "plain": []}
    with (
        harness.served(bento, VLP_REFERENCE=str(bundle.parent)) as (plain, _),
        harness.served(ours_command, **SETTINGS) as (ours, _),
        harness.served(int8_command, **SETTINGS) as (int8, _),
    ):
        for _ in range(rounds):
            for name, url, texts in (
                ("ours", ours, {"texts": reference.TEXT}),
                ("int8", int8, {"texts": reference.TEXT}),
                ("plain", plain, {"texts": f'["{reference.TEXT}"]'}),
            ):
                samples[name].append(asyncio.run(closed_loop(url, texts, seconds)))
    rate = {name: [len(times) / seconds for times in rounds] for name, rounds in samples.items()}
    tail = {name: [1000 * harness.percentile(times, 0.99) for times in rounds] for name, rounds in samples.items()}
    return {
        "rounds": rounds,
        "requests_per_second": {name: [round(value, 2) for value in values] for name, values in rate.items()},
        "p99_ms": round(float(np.median(tail["ours"])), 1),
        "int8_p99_ms": round(float(np.median(tail["int8"])), 1),
        "plain_p99_ms": round(float(np.median(tail["plain"])), 1),
        "ratios": {
            "rps_vs_plain_service": harness.ratio(rate["ours"], rate["plain"]),
            "p99_vs_plain_service": harness.ratio(tail["plain"], tail["ours"]),
            "int8_rps_vs_plain_service": harness.ratio(rate["int8"], rate["plain"]),
        },
        "samples": {
            name: [[round(1000 * value, 1) for value in times] for times in rounds] for name, rounds in samples.items()
        },
    }


def picture() -> bytes:
    """A JPEG of the size of a small photograph."""
    out = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8)
    Image.fromarray(noise).resize((640, 480), Image.Resampling.BICUBIC).save(out, "JPEG", quality=85)
    return out.getvalue()


async def closed_loop(url: str, texts: dict[str, str], seconds: float) -> list[float]:
    """Seconds of each request of ``CLIENTS`` clients in ``seconds``.

    Raises:
        RuntimeError: a request is not answered with 200.
    """
    times: list[float] = []
    image, end = picture(), time.perf_counter() + seconds

    async def client() -> None:
        async with httpx.AsyncClient(base_url=url, timeout=60) as http:
            while time.perf_counter() < end:
                begun = time.perf_counter()
                answer = await http.post("/match", files={"image": ("picture.jpg", image, "image/jpeg")}, data=texts)
                if answer.status_code != 200:
                    raise RuntimeError(f"{url}: {answer.status_code}: {answer.text[:200]}")
                times.append(time.perf_counter() - begun)

    await asyncio.gather(*(client() for _ in range(CLIENTS)))
    return times


async def overloaded(url: str, pid: int, capacity: float, seconds: float) -> dict[str, Any]:
    """What comes of ``TIMES`` the capacity: statuses, memory, and how soon a single request is quick again."""
    image, statuses, refusals = picture(), Counter[str](), list[float]()
    limits, patience = aiohttp.TCPConnector(limit=0), aiohttp.ClientTimeout(total=60)
    # Not httpx: its pool looks at every connection for every request, and has no time left to send any.
    async with aiohttp.ClientSession(url, connector=limits, timeout=patience) as http:

        async def one() -> float:
            begun = time.perf_counter()
            form = aiohttp.FormData({"texts": reference.TEXT})
            form.add_field("image", image, filename="p.jpg", content_type="image/jpeg")
            try:
                async with http.post("/match", data=form) as answer:
                    await answer.read()
            except (aiohttp.ClientError, TimeoutError) as error:
                statuses[type(error).__name__] += 1
                return time.perf_counter() - begun
            statuses[str(answer.status)] += 1
            if answer.status in (429, 503):
                refusals.append(time.perf_counter() - begun)
            return time.perf_counter() - begun

        usual = float(np.median([await one() for _ in range(9)]))
        statuses.clear()
        begun, sent, memory = time.perf_counter(), list[asyncio.Task[float]](), [harness.memory_mb(pid)]
        while (now := time.perf_counter() - begun) < seconds:
            sent += [asyncio.create_task(one()) for _ in range(int(now * TIMES * capacity) - len(sent))]
            if now > MEMORY_S * len(memory):
                memory.append(harness.memory_mb(pid))
            await asyncio.sleep(0.005)
        ended = time.perf_counter()
        waiting = asyncio.gather(*sent)
        await asyncio.sleep(0)
        recovered = 0.0
        while await one() > 2 * usual and recovered < 60:
            recovered = time.perf_counter() - ended
        await waiting
        memory.append(harness.memory_mb(pid))
        afterwards = float(np.median([await one() for _ in range(9)]))
    return {
        "seconds": seconds,
        "capacity_rps": round(capacity, 1),
        "offered_rps": round(TIMES * capacity, 1),
        "sent": len(sent),
        "lost": sum(count for status, count in statuses.items() if not status.isdecimal()),
        "statuses": dict(statuses),
        "refused_within_ms_p99": round(1000 * harness.percentile(refusals, 0.99), 1) if refusals else None,
        "usual_ms": round(1000 * usual, 1),
        "recovered_s": round(recovered, 2),
        "usual_ms_afterwards": round(1000 * afterwards, 1),
        "memory_mb_before": round(memory[0], 1),
        "memory_mb_after": round(memory[-1], 1),
        "memory_mb_at_most": round(max(memory), 1),
        "memory_mb": [round(value, 1) for value in memory],
    }


if __name__ == "__main__":
    main()
