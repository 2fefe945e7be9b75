"""The anchor of a heading on the site."""


def slug(heading):
    """What JupyterLab and nbconvert make of a heading: blanks become dashes. So one link works in all places."""
    return heading.replace(" ", "-")
