"""Live stock prices: a service, a client that watches it, and a crash in between."""
