"""Batteries that every part of a kind has to pass, the project's own and a user's."""
