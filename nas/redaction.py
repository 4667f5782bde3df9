"""Secrets in texts that people pass on: passwords of storage URLs, tokens."""

from __future__ import annotations

import re

_WORDS = (
    "password",
    "passwd",
    "passphrase",
    "passcode",
    "pwd",
    "token",
    "secret",
    "apikey",
    "api_key",
    "api-key",
    "access_key",
    "credential",
)


def _spelt(word: str) -> str:
    """A pattern of a word, each letter of which may be percent-encoded."""
    return "".join(
        f"(?:{re.escape(letter)}|%{ord(letter):02x}|%{ord(letter.upper()):02x})"  # letters as such: without case
        for letter in word
    )


_NAME = rf"(?:{'|'.join(map(_spelt, _WORDS))}|(?<![a-z]){_spelt('pass')}(?![a-z]))"
_VALUE = r"""(?:'(?:[^'\\]|\\.)*'|\\?"(?:[^"\\]|\\.)*"|[^\s&;'"]+)"""
_ASSIGNED = re.compile(rf"({_NAME}[\w.-]*(?:\s?=\s?|%3d))(?!\*\*\*){_VALUE}", re.IGNORECASE)
_IN_ADDRESS = re.compile(r"""((?::|%3a)(?:/|%2f){2}[^:/@\s'"]*?(?::|%3a))[^\s'"]*(@|%40)""", re.IGNORECASE)


def hide_secrets(text: str) -> str:
    """The text with *** for every password: of USER:PASSWORD@ in an address, of ?password= and its like, also where
    they are percent-encoded."""
    return _ASSIGNED.sub(r"\1***", _IN_ADDRESS.sub(r"\1***\2", text))
