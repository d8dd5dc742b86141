"""What the clients of all transports share: saying what went wrong without telling secrets."""

from refusion.rpc._errors import RpcConnectError

__all__ = ["cause_of", "connect_error", "without_query"]


def without_query(url: str) -> str:
    """Return a URL as it may be shown: without its query, where clients say who they are, and prove it."""
    return url.partition("?")[0]


def connect_error(url: str, problem: object, status: int | None = None) -> RpcConnectError:
    """Return the error of a connection attempt, whose text has nothing of the query of the URL in it.

    Args:
        url: Where it was to.
        problem: What went wrong, or the error that says it, which may have the URL in its text.
        status: The HTTP status that the server has refused it with, if it did.
    """
    shown = without_query(url)
    text = str(problem) or type(problem).__name__
    query = url[len(shown) :]
    if query:
        text = text.replace(query, "").replace(query[1:], "")
    return RpcConnectError(f"can't connect to {shown}: {text}", status)


def cause_of(url: str, error: Exception) -> Exception | None:
    """Return what an error of a connection attempt is raised from: nothing, if the query of the URL is in its text."""
    query = url.partition("?")[2]
    return None if query and query in str(error) else error
