"""A crawler: polite to each host, with progress, and with what it has got when it is interrupted.

    python crawler.py https://example.org/ https://example.org/about ...

At most 20 requests at once, 4 to one host, and 50 a second; a slow host keeps nobody else from going on. What fails is
tried again, but not for long. Ctrl-C ends it at once, and prints the pages that have arrived.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from urllib.parse import urlsplit

import httpx
from rich.progress import Progress

from lifecycle import Limiter, Rate, Retry, Scope, as_completed, limit_by, run, take_snapshot


@dataclass
class Page:
    """What has become of one address."""

    url: str
    size: int = 0
    error: str | None = None


def host_of(url: str) -> str:
    """Return whose limit it falls under."""
    return urlsplit(url).netloc


class Crawler:
    """Fetches pages, within limits that all fetches share."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self.client = client
        self.limiter = Limiter(20, limit_by=limit_by(host_of, limit=4), rate=Rate(50, burst=20), name="requests")
        self.retry = Retry(attempts=3, backoff=(0.05, 1.0), retry_on=self.passes)

    async def fetch(self, url: str) -> Page:
        """Return the page, also where it cannot be had."""
        try:
            return Page(url, size=len(await self.retry.call(self.get, url)))
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:  # the last of them: no address at all
            return Page(url, error=str(error) or type(error).__name__)

    async def get(self, url: str) -> bytes:
        """Make one attempt; between two of them it holds no place."""
        async with self.limiter.hold(url):
            response = await self.client.get(url)
        return response.raise_for_status().content

    def passes(self, error: Exception) -> bool | float:
        """Say which errors pass by themselves, and after how many seconds, where the server says so."""
        if isinstance(error, httpx.HTTPStatusError):
            asked = error.response.headers.get("retry-after", "0")
            seconds = float(asked) if asked.isdecimal() else 1.0  # it may be a date
            return error.response.status_code in (429, 502, 503) and min(seconds, 10.0)
        return isinstance(error, httpx.TransportError)


async def crawl(urls: list[str], pages: list[Page]) -> None:
    """Fetch them all, and put what arrives into *pages* as it does."""
    async with Scope("crawl") as scope:
        client = await scope.acquire(lambda: httpx.AsyncClient(timeout=5.0))
        progress = scope.enter_context(Progress(disable=not sys.stderr.isatty()))
        bar = progress.add_task("pages", total=len(urls))
        crawler = Crawler(client)
        scope.callback(crawler.limiter.close)
        done = await scope.enter_async_context(as_completed(map(crawler.fetch, urls), limit=100))
        async for outcome in done:
            pages.append(outcome.result())
            progress.advance(bar)


def main(urls: list[str]) -> None:
    """Crawl, and say what came of it, also when it was interrupted."""
    pages: list[Page] = []
    try:
        run(crawl, urls, pages)
    finally:
        good = [page for page in pages if page.error is None]
        size = sum(page.size for page in good)
        print(f"{len(good)} pages of {len(urls)}, {size} bytes, {len(pages) - len(good)} errors")
        for page in pages:
            if page.error is not None:
                print(f"  {page.url}: {page.error}")
        print("still owned:", take_snapshot().roots or "nothing")


if __name__ == "__main__":
    main(sys.argv[1:])
