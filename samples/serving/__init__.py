"""The same service inside of web frameworks; run one with `uvicorn samples.serving.with_starlette:app`."""
