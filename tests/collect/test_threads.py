"""Daemon threads for blocking calls."""

import asyncio
import threading

import pytest

from otel_latency.collect.threads import DaemonThreads


@pytest.fixture
def threads():
    pool = DaemonThreads("test-pool", limit=2)
    yield pool
    pool.close()


async def test_a_result_comes_back(threads):
    """A job runs on a daemon thread of the pool, and its result arrives on the loop."""
    ran_on = await threads.submit(threading.current_thread)
    assert ("test-pool-1", True) == (ran_on.name, ran_on.daemon)


async def test_an_idle_thread_is_used_again(threads):
    """Jobs one after another need one thread."""
    names = [(await threads.submit(threading.current_thread)).name for _ in range(20)]
    assert set(names) == {"test-pool-1"}


async def test_a_hung_job_holds_nobody_up(threads):
    """While one job hangs the next ones run on another thread."""
    hang = threading.Event()
    hung = threads.submit(hang.wait)
    assert ["test-pool-2"] * 3 == [(await threads.submit(threading.current_thread)).name for _ in range(3)]
    hang.set()
    assert await hung is True


async def test_beyond_the_limit_jobs_wait(threads):
    """A third job does not start while two run, and starts when one of them ends."""
    first, second = threading.Event(), threading.Event()
    running = [threads.submit(first.wait), threads.submit(second.wait)]
    third = threads.submit(threading.current_thread)
    first.set()
    await running[0]
    assert (await third).name == "test-pool-1"
    second.set()
    await running[1]


@pytest.mark.parametrize(
    "error", [ValueError("x"), SystemExit(3), StopIteration()], ids=lambda each: type(each).__name__
)
async def test_an_exception_comes_back(threads, error):
    """Whatever a job raises reaches its caller as an Exception, and the thread lives on."""

    def fail():
        raise error

    with pytest.raises(Exception, match=r"x|SystemExit was raised|StopIteration was raised"):
        await threads.submit(fail)
    assert (await threads.submit(threading.current_thread)).name == "test-pool-1"


async def test_a_cancelled_job_is_dropped(threads):
    """The outcome of a job that nobody waits for any more goes nowhere."""
    hang = threading.Event()
    given_up = threads.submit(hang.wait)
    given_up.cancel()
    hang.set()
    assert "done" == await threads.submit(lambda: "done")
    assert given_up.cancelled()


async def test_closing_ends_the_threads(threads):
    """After close the threads end, a second close is harmless, and no job is taken."""
    thread = await threads.submit(threading.current_thread)
    threads.close()
    threads.close()
    await asyncio.to_thread(thread.join)
    with pytest.raises(RuntimeError, match="test-pool is closed"):
        threads.submit(threading.current_thread)


@pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_closed_loop_does_not_trouble_the_thread():
    """A job that ends after its loop was closed is dropped without an error."""
    hang = threading.Event()

    async def start():
        pool = DaemonThreads("left", limit=1)
        pool.submit(hang.wait)
        pool.close()

    asyncio.run(start())
    left = next(thread for thread in threading.enumerate() if thread.name == "left-1")
    hang.set()
    left.join()
