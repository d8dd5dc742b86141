"""Beside Django, without Channels: Django has all requests but those below `/rpc/`."""

# pyright: basic

from typing import Any

import django
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.http import HttpRequest, HttpResponse
from django.urls import path

from refusion import FusionHub
from refusion.rpc.transports.asgi import RpcEndpoint
from samples.greetings import Greeter, GreeterService

settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["127.0.0.1"], SECRET_KEY="for this sample only")
django.setup()


def home(request: HttpRequest) -> HttpResponse:
    return HttpResponse(b"Welcome!")


urlpatterns = [path("", home)]

hub = FusionHub()
hub.add_service(Greeter, GreeterService())
pages = get_asgi_application()
rpc = RpcEndpoint(hub)


async def app(scope: Any, receive: Any, send: Any) -> None:
    # Django knows no WebSockets, and leaves the end of the server to others: the endpoint closes the hub then.
    is_for_rpc = scope["type"] == "lifespan" or scope["path"].startswith("/rpc/")
    await (rpc if is_for_rpc else pages)(scope, receive, send)
