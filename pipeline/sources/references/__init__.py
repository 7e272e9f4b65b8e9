"""References to images as data contains them: addresses, paths, `data:` URIs and base64."""
