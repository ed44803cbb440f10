"""Makes texts from the wire fit to be stored: no NUL characters, no half surrogate pairs."""


def clean(text: object) -> str:
    """Return a text as valid Unicode without NUL characters; '' for what is no text."""
    if not isinstance(text, str):
        return ""
    if "\0" in text:
        text = text.replace("\0", "")
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text
