"""The Chinese edition: messages of the English pages, their catalogues in docs/locale, and the pages made of both."""
