"""Keeps what a command does to the logging of its process from the other tests."""

import logging
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def untouched_logging() -> Iterator[None]:
    """Logging is as before when the test is over."""
    loggers = [logging.getLogger(name) for name in (None, "connet_trio", "quic")]
    before = [(logger, logger.level, logger.propagate, list(logger.handlers)) for logger in loggers]
    raise_exceptions = logging.raiseExceptions
    yield
    logging.captureWarnings(False)
    logging.raiseExceptions = raise_exceptions
    for logger, level, propagate, handlers in before:
        logger.setLevel(level)
        logger.propagate = propagate
        logger.handlers = handlers
