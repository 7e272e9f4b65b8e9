"""Resizes pictures to the model's square, with Pillow's arithmetic and in an order of passes that hanclip fixes."""
