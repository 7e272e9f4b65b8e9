"""Online embeddings, similarities and zero-shot classes over HTTP, from the model that made a dataset.

`app.create_app` makes an ASGI application out of an encoder and settings; a host such as uvicorn runs it. Needs no Ray.
Torch is behind the encoder alone.
"""
