"""Makes the pages of the documentation site: those of `docs/`, and a reference made from the code.

`scripts/site` runs it and then the site generator. The reference is made at each build and not committed: it changes
with every option, and `--help`, `--print-config` and `/openapi.json` have the same facts where there is no site.
"""
