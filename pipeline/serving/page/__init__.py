"""The page that people use: HTML, styles and scripts that ask the API, as any other client does."""
