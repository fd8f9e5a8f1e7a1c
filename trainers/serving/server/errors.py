"""What a request can be refused with; each has a gRPC status and an HTTP status."""

from __future__ import annotations

__all__ = [
    "DeadlineExceeded",
    "Denied",
    "InvalidRequest",
    "NotFound",
    "Overloaded",
    "RequestError",
    "Unavailable",
]


class RequestError(Exception):
    """Base: `code` is the name of the gRPC status, `http` the HTTP status."""

    code = "INTERNAL"
    http = 500


class InvalidRequest(RequestError):
    """The request itself is wrong."""

    code = "INVALID_ARGUMENT"
    http = 400


class NotFound(RequestError):
    """No such model, version, label or signature."""

    code = "NOT_FOUND"
    http = 404


class Denied(RequestError):
    """The client may not ask for this."""

    code = "PERMISSION_DENIED"
    http = 403


class Overloaded(RequestError):
    """The queue is full: try again later."""

    code = "RESOURCE_EXHAUSTED"
    http = 429


class DeadlineExceeded(RequestError):
    """The answer would come too late."""

    code = "DEADLINE_EXCEEDED"
    http = 504


class Unavailable(RequestError):
    """The server is stopping, or the model has no version yet."""

    code = "UNAVAILABLE"
    http = 503
