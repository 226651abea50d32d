"""Small tools for tasks: waiting, retrying, copying, counting."""

from connet_trio.concurrency.backoff import Backoff
from connet_trio.concurrency.byte_stream import AbortableStream, StreamBroken, Told, ignore_code
from connet_trio.concurrency.clock_watch import ClockWatch, watch_wall_clock
from connet_trio.concurrency.one_task import OneTask
from connet_trio.concurrency.outage import Outage
from connet_trio.concurrency.outlasting import outlasting
from connet_trio.concurrency.sessions import keep_session
from connet_trio.concurrency.single_error import first_error, single_error
from connet_trio.concurrency.splice import splice
from connet_trio.concurrency.watched import Watched
from connet_trio.concurrency.workload import Workload

__all__ = [
    "AbortableStream",
    "Backoff",
    "ClockWatch",
    "OneTask",
    "Outage",
    "StreamBroken",
    "Told",
    "Watched",
    "Workload",
    "first_error",
    "ignore_code",
    "keep_session",
    "outlasting",
    "single_error",
    "splice",
    "watch_wall_clock",
]
