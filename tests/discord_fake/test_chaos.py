import asyncio
import contextlib
import socket
import struct
import time

import pytest

from tests.fakes.discord.chaos import ChaosProxy


@contextlib.asynccontextmanager
async def echo():
    """A target that sends every line back, and remembers what it got and how its connections ended."""
    lines, endings = [], []

    async def serve(reader, writer):
        try:
            while line := await reader.readline():
                lines.append(line)
                writer.write(line)
                await writer.drain()
            endings.append("eof")
        except ConnectionResetError:
            endings.append("reset")
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, limit=2**20)
    async with server:
        yield server.sockets[0].getsockname()[1], lines, endings


async def eventually(check):
    async with asyncio.timeout(5):
        while not check():
            await asyncio.sleep(0.005)


async def ask(connection, line=b"hello\n", *, within=5.0):
    reader, writer = connection
    writer.write(line)
    return await asyncio.wait_for(reader.readline(), within)


def scenario(play, **options):
    async def run():
        async with echo() as (port, lines, endings), ChaosProxy("127.0.0.1", port, **options) as proxy:
            connections = []

            async def dial():
                connections.append(await asyncio.open_connection(proxy.host, proxy.port, limit=2**20))
                return connections[-1]

            try:
                await play(proxy, dial, lines, endings)
            finally:
                for _, writer in connections:
                    writer.transport.abort()

    asyncio.run(run())


def test_bytes_travel_unchanged_both_ways_and_are_counted():
    async def play(proxy, dial, lines, endings):
        connection = await dial()
        big = bytes(range(1, 10)) * 40_000 + b"\n"
        assert await ask(connection, b"hello\n") == b"hello\n"
        assert await ask(connection, big) == big
        await eventually(lambda: proxy.bytes_up == proxy.bytes_down == len(big) + 6)
        assert proxy.open == proxy.accepted == 1

    scenario(play)


def test_the_end_of_one_side_reaches_the_other():
    async def play(proxy, dial, lines, endings):
        reader, writer = await dial()
        await ask((reader, writer))
        writer.write_eof()
        assert await asyncio.wait_for(reader.read(), 5) == b""
        await eventually(lambda: endings == ["eof"] and proxy.open == 0)

    scenario(play)


def test_a_cut_resets_both_sides_of_every_connection():
    async def play(proxy, dial, lines, endings):
        one, two = await dial(), await dial()
        await ask(one)
        await ask(two)
        assert proxy.cut() == 2
        for reader, _ in (one, two):
            with pytest.raises(ConnectionResetError) as caught:
                await asyncio.wait_for(reader.read(), 5)
            assert caught.value.errno == 104
        await eventually(lambda: endings == ["reset", "reset"])
        assert proxy.open == 0
        assert await ask(await dial()) == b"hello\n"

    scenario(play)


def test_a_frozen_connection_stays_up_swallows_everything_and_is_reset_after_the_thaw():
    async def play(proxy, dial, lines, endings):
        connection = await dial()
        await ask(connection)
        proxy.freeze()
        with pytest.raises(TimeoutError):
            await ask(connection, b"lost\n", within=0.15)
        assert not connection[0].at_eof()
        assert (proxy.open, proxy.bytes_lost, lines, endings) == (1, 5, [b"hello\n"], [])
        proxy.thaw()
        with pytest.raises(ConnectionResetError):
            await asyncio.wait_for(connection[0].read(), 5)
        assert await ask(await dial(), b"again\n") == b"again\n"
        assert b"lost\n" not in lines

    scenario(play)


@pytest.mark.parametrize("rudely", [True, False])
def test_a_client_that_hangs_up_while_frozen_is_not_noticed_before_the_thaw(rudely):
    async def play(proxy, dial, lines, endings):
        connection = await dial()
        await ask(connection)
        proxy.freeze()
        if rudely:
            linger = struct.pack("ii", 1, 0)
            connection[1].get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        connection[1].transport.abort()
        await asyncio.sleep(0.1)
        assert endings == []
        proxy.thaw()
        await eventually(lambda: endings == ["reset"])

    scenario(play)


def test_a_frozen_connection_that_lost_nothing_goes_on_after_the_thaw():
    async def play(proxy, dial, lines, endings):
        connection = await dial()
        await ask(connection)
        proxy.freeze()
        proxy.thaw()
        assert await ask(connection, b"still here\n") == b"still here\n"

    scenario(play)


def test_held_bytes_arrive_after_the_thaw_and_new_connections_wait_too():
    async def play(proxy, dial, lines, endings):
        old = await dial()
        await ask(old)
        proxy.freeze(hold=True)
        new = await dial()
        old[1].write(b"from the old\n")
        new[1].write(b"from the new\n")
        await asyncio.sleep(0.1)
        assert lines == [b"hello\n"]
        proxy.thaw()
        assert await asyncio.wait_for(old[0].readline(), 5) == b"from the old\n"
        assert await asyncio.wait_for(new[0].readline(), 5) == b"from the new\n"
        assert proxy.bytes_lost == 0

    scenario(play)


def test_a_frozen_connection_can_be_cut():
    async def play(proxy, dial, lines, endings):
        connection = await dial()
        await ask(connection)
        proxy.freeze()
        connection[1].write(b"lost\n")
        await eventually(lambda: proxy.bytes_lost == 5)
        proxy.cut()
        with pytest.raises(ConnectionResetError):
            await asyncio.wait_for(connection[0].read(), 5)

    scenario(play)


def test_refusing_turns_new_connections_away_and_accepting_takes_them_on_the_same_port():
    async def play(proxy, dial, lines, endings):
        old, port = await dial(), proxy.port
        await ask(old)
        proxy.refuse()
        with pytest.raises(ConnectionRefusedError):
            await dial()
        assert await ask(old, b"the old lives\n") == b"the old lives\n"
        proxy.accept()
        assert proxy.port == port
        assert await ask(await dial()) == b"hello\n"

    scenario(play)


def test_a_dead_target_resets_the_client():
    async def run():
        async with echo() as (port, _, _):
            pass
        async with ChaosProxy("127.0.0.1", port) as proxy:
            reader, writer = await asyncio.open_connection(proxy.host, proxy.port)
            with pytest.raises(ConnectionResetError):
                await asyncio.wait_for(reader.read(), 5)
            writer.transport.abort()

    asyncio.run(run())


def test_latency_delays_both_ways_without_slowing_the_flow():
    async def play(proxy, dial, lines, endings):
        connection = await dial()
        began = time.monotonic()
        for number in range(20):
            connection[1].write(b"%d\n" % number)
            await asyncio.sleep(0.005)
        got = [await asyncio.wait_for(connection[0].readline(), 5) for _ in range(20)]
        took = time.monotonic() - began
        assert got == [b"%d\n" % number for number in range(20)]
        assert 0.2 + 19 * 0.005 <= took < 1.5  # one round trip and the sending, not 20 round trips (4 s)

    scenario(play, latency=0.1)


@pytest.mark.parametrize("then", ["reset", "close"])
def test_a_truncated_answer_ends_in_its_midst(then):
    async def play(proxy, dial, lines, endings):
        connection = await dial()
        await ask(connection)
        proxy.truncate(9, then=then)
        assert await ask(connection, b"12345\n") == b"12345\n"
        connection[1].write(b"abcdef\n")
        assert await asyncio.wait_for(connection[0].readexactly(3), 5) == b"abc"
        if then == "reset":
            with pytest.raises(ConnectionResetError):
                await asyncio.wait_for(connection[0].read(), 5)
        else:
            assert await asyncio.wait_for(connection[0].read(), 5) == b""
        assert await ask(await dial(), b"whole\n") == b"whole\n"

    scenario(play)


def test_a_truncated_request_never_arrives_whole():
    async def play(proxy, dial, lines, endings):
        connection = await dial()
        proxy.truncate(4, direction="up")
        connection[1].write(b"request\n")
        with pytest.raises(ConnectionResetError):
            await asyncio.wait_for(connection[0].read(), 5)
        await eventually(lambda: endings)
        assert b"request\n" not in lines

    scenario(play)


def test_nothing_of_the_proxy_outlives_it():
    async def run():
        async with echo() as (port, _, _):
            proxy = ChaosProxy("127.0.0.1", port)
            async with proxy:
                connections = [await asyncio.open_connection(proxy.host, proxy.port) for _ in range(5)]
                await ask(connections[0])
                proxy.freeze()
            assert proxy.open == 0
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection("127.0.0.1", proxy.port)
            for _, writer in connections:
                writer.transport.abort()
            await asyncio.sleep(0.05)
            assert not proxy._tasks
            assert not [task for task in asyncio.all_tasks() if "ChaosProxy" in repr(task)]

    asyncio.run(run())
