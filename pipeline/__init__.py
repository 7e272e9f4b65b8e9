"""What the work is: sources, images, text, the model, the output dataset. No Ray and no Prefect in here."""

__version__ = "0.2.0"
