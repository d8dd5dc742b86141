"""Plain Python building blocks: clocks, retry delays, result comparison, logging of foreign failures."""
