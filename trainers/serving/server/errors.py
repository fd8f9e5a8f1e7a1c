"""What a request can be refused with; each has a gRPC status and an HTTP status."""

from __future__ import annotations

__all__ = [
    "DeadlineExceeded",
    "Denied",
    "FailedPrecondition",
    "InvalidRequest",
    "NotFound",
    "Overloaded",
    "RequestError",
    "Unavailable",
]


_MOST_DETAILS = 2000  # bytes: three times as many on their way, where clients of gRPC take 8 KiB for all of a status


class RequestError(Exception):
    """Base: `code` is the name of the gRPC status, `http` the HTTP status; a subclass is made with both."""

    code = "INTERNAL"
    http = 500

    @property
    def details(self) -> str:
        """What is wrong, as a status of gRPC takes it: of a longer text a client would see that it is too long, and no more.

        Over REST as well: what a client sent may be in it, up to the size of a body.
        """
        text = str(self).encode(errors="backslashreplace")
        return text.decode() if len(text) <= _MOST_DETAILS else text[:_MOST_DETAILS].decode(errors="ignore") + " ..."

    def __init_subclass__(cls, *, code: str, http: int) -> None:
        super().__init_subclass__()
        cls.code, cls.http = code, http


class InvalidRequest(RequestError, code="INVALID_ARGUMENT", http=400):
    """The request itself is wrong."""


class NotFound(RequestError, code="NOT_FOUND", http=404):
    """No such model, version, label or signature."""


class Denied(RequestError, code="PERMISSION_DENIED", http=403):
    """The client may not ask for this."""


class FailedPrecondition(RequestError, code="FAILED_PRECONDITION", http=400):
    """What must be so before is not: a label for a version that is not served."""


class Overloaded(RequestError, code="RESOURCE_EXHAUSTED", http=429):
    """The queue is full: try again later."""


class DeadlineExceeded(RequestError, code="DEADLINE_EXCEEDED", http=504):
    """The answer would come too late."""


class Unavailable(RequestError, code="UNAVAILABLE", http=503):
    """The server is stopping, or the model has no version yet."""
