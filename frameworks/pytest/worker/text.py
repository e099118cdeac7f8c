"""Text that is fit to be sent: bounded, and UTF-8 whatever a test put into it."""
import codecs

TEXT_LIMIT = 256 * 1024
LINE_LIMIT = 1000



def replace_surrogates(error):
    # As bytes: of text, the encoder takes only ASCII from a handler.
    return "\ufffd".encode() * (error.end - error.start), error.end


# Whatever is in an id or a traceback (lone surrogates), what leaves is UTF-8.
codecs.register_error("runner", replace_surrogates)


def clip(text, limit=TEXT_LIMIT):
    """Bounded text: its head and its tail."""
    if len(text) <= limit:
        return text
    half = limit // 2
    return "%s\n… %d characters left out …\n%s" % (text[:half], len(text) - limit, text[-half:])


def first_line(text):
    for line in text.splitlines():
        if line.strip():
            return clip(line.strip(), LINE_LIMIT)
    return ""


def printable(text):
    """The text itself, or (an id made of undecodable bytes) one that survives UTF-8."""
    try:
        text.encode()
        return text
    except UnicodeEncodeError:
        return text.encode("utf-8", "backslashreplace").decode()
