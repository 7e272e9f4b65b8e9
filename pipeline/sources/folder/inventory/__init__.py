"""S3 Inventory as the listing of a folder: what a bucket held when the inventory was made, without listing it."""
