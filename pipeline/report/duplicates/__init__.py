"""Groups of duplicates for pages: the groups in an order, and the pages that show all of them."""
