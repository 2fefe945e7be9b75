"""What turns the chapters into a web site, an explainer, a cheat sheet, and a Chinese edition."""
