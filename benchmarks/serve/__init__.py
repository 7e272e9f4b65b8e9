"""Load on `hanclip serve`, beside a bare loop and a plain FastAPI server with the same model."""
