"""One module per kind of store; `open` chooses by the scheme of the address. Private to `pipeline.storage`."""
