"""What all HTML pages share: colours in light and dark, the choice of theme and language, and words in both languages.

The report, the page of a search and the page of `hanclip serve` have one look. This folder has no page of its own.
"""
