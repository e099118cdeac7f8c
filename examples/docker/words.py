"""What is tested: counting words."""


def count(text):
    """How often each word comes, in lower case."""
    words = {}
    for word in text.lower().split():
        words[word] = words.get(word, 0) + 1
    return words
