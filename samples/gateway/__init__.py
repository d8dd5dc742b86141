"""Prices through a chain of gateways: an origin, a gateway, an edge, and clients that only know the edge."""
