from ._cache import ClientCache


class MemoryCache(ClientCache):
    def __init__(self):
        self.d = {}

    async def open(self, version):
        pass

    async def get(self, key):
        return self.d.get(key)

    def set(self, key, value):
        self.d[key] = value

    def remove(self, key):
        self.d.pop(key, None)

    def __len__(self):
        return len(self.d)

    def keys(self):
        return list(self.d)

    async def flush(self):
        pass

    async def clear(self):
        self.d.clear()

    async def aclose(self):
        pass
