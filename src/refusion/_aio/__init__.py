"""Helpers on asyncio that the standard library lacks."""
