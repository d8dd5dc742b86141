"""The services of a hub over plain HTTP, for curl and scripts: `POST` with JSON, described by an OpenAPI document."""

from ._endpoint import RpcHttpEndpoint as RpcHttpEndpoint
from ._endpoint import ServingHub as ServingHub
from ._openapi import create_openapi as create_openapi
from ._problems import Problem as Problem
