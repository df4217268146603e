"""Errors in the contract's words."""

import functools
import json
import traceback

from componentize_py_types import Err
from wit_world.imports import host, types


def invalid(message):
    """A value that the caller should not have given: `raise invalid("…")`."""
    return Err(types.Error_InvalidArgument(message))


def failed(message):
    """Anything that is not the caller's fault."""
    return Err(types.Error_Failed(message))


def answers(function):
    """For every method that the host calls and that may answer with an error.

    An exception that nobody catches would end the instance, and its traceback would be lost: a plugin
    has no standard error. With this decorator the traceback goes to the host's log and the caller gets
    the exception's text. Errors of the contract, the host's own included, pass through as they are.
    """

    @functools.wraps(function)
    def answering(*arguments, **named):
        try:
            return function(*arguments, **named)
        except Err:
            raise
        except Exception as error:
            host.log(host.Level.ERROR, traceback.format_exc())
            raise failed(f"{type(error).__name__}: {error}") from None

    return answering


def description(text):
    """The answer to `describe`, from the text of a `plugin.json`."""
    said = json.loads(text)
    return types.Description(
        name=said["name"],
        version=said["version"],
        kind=types.Kind[said["kind"].upper()],
        summary=said["summary"],
        config_schema=json.dumps(said["config_schema"]),
        capabilities=said["capabilities"],
    )
