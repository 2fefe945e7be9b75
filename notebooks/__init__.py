"""The chapters: source/ is what people write and review, `python -m notebooks.build` makes the .ipynb to read."""
