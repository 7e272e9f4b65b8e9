"""What a request holds: images and texts, and how they become pixels."""
