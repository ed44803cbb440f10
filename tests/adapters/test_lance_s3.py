"""The memory in object storage: an S3-compatible server on loopback, spoken to by the real library."""

import asyncio
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from datetime import timedelta
from pathlib import Path

import pytest

from persona.adapters.lance import LanceMemory
from persona.ports import MemoryQuery
from tests.fakes.embedding import WordEmbedder, vector_of
from tests.fakes.talk import ATTIC, KITCHEN, NOON, chatter, put, remove, said

SERVER = shutil.which("moto_server", path=str(Path(sys.executable).parent)) or shutil.which("moto_server")
BOTH = frozenset({KITCHEN, ATTIC})


@pytest.fixture
def bucket():
    """Storage options for a server of its own, with an empty bucket `memories`."""
    if SERVER is None:
        pytest.skip("no S3-compatible server: moto_server (the package moto with its extra server) is not installed")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with subprocess.Popen(
        [SERVER, "-H", "127.0.0.1", "-p", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            request = urllib.request.Request(f"http://127.0.0.1:{port}/memories", method="PUT")
            for attempt in range(200):
                try:
                    urllib.request.urlopen(request, timeout=5).close()  # noqa: S310 - our own server
                    break
                except OSError:
                    assert attempt < 199, "the server does not answer"
                    time.sleep(0.1)
            yield {
                "aws_endpoint": f"http://127.0.0.1:{port}",
                "aws_access_key_id": "test",
                "aws_secret_access_key": "test",
                "aws_region": "us-east-1",
                "allow_http": "true",
            }
        finally:
            process.terminate()


def test_lives_in_object_storage_through_edits_removals_purging_and_reopening(bucket):
    def memory():
        return LanceMemory("s3://memories/persona", storage_options=bucket, now=lambda: NOON + timedelta(days=1))

    async def texts(index, text):
        query = MemoryQuery(text=text, vector=vector_of(text), channel_ids=BOTH, limit=50)
        return [one.text for one in await index.search(query)]

    async def scenario():
        messages = [said(5_000, "my car broke down"), said(5_001, "the cat sleeps"), *chatter(40)]
        vectors = {message.content: vector_of(message.content) for message in messages}
        first = memory()
        new = await first.open(WordEmbedder().space)
        await first.apply(put(*messages), vectors)
        await first.apply(remove(messages[1]))
        await first.purge()
        await first.close()
        second = memory()
        held = await second.open(WordEmbedder().space)
        found = await texts(second, "automobile"), await texts(second, "feline sleeps")
        stats = await second.stats()
        await second.close()
        return new, held, found, stats

    new, held, (car, cat), stats = asyncio.run(scenario())
    assert (new, held) == (False, True)
    assert "my car broke down" in car
    assert "the cat sleeps" not in cat
    assert (stats.messages, stats.waiting, stats.bytes) == (41, 0, None)
