"""Melodies: tokens, grammar, corpora, rules, and files that musicians use."""

from seqtutor_music.domain import DOMAIN

__all__ = ["DOMAIN"]
