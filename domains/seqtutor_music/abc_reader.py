"""Reads ABC text into melodies: what ABC 2.1 says about single-voice tunes, by the letter.

Accidentals last to the bar line and hold in every octave (the standard's default), ties join notes, grace notes,
chord symbols and decorations are dropped, chords keep their top note. Times are exact fractions of a whole note.
Standard: https://abcnotation.com/wiki/abc:standard:v2.1
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from fractions import Fraction

from seqtutor.domain import SeqtutorError, UsageError
from seqtutor_music.keys import LETTERS, WHITE, Key, find_mode
from seqtutor_music.meter import Meter, parse_meter
from seqtutor_music.repeats import Measure
from seqtutor_music.tune import Event, Tune

MAX_DURATION = 64  # whole notes in one note: more is a misprint, and an attack on memory


_TOKEN = re.compile(r"""
    "(?:[^"]*)"                                  # chord symbol or annotation
  | ![^!\n|]{1,24}! | \+[a-zA-Z.()<>0-9]{2,20}\+    # decorations
  | \{[^}]*\}                                    # grace notes
  | \[\s*[A-Za-z]:[^\]]*\]                       # inline field
  | (?P<ending>\[\s*(?=[1-9])|(?<=[|:])\s*(?=[1-9]))(?P<passes>[1-9][0-9,-]*)
  | (?P<bar>(?::*\|+[\]:|]*|:+\[?\|?|\[\||\|\]|::))
  | \((?P<tuplet>[2-9])(?::(?P<time>[0-9]*))?(?::(?P<many>[0-9]*))?
  | (?P<chord>\[(?=[^|\]]*[A-Ga-g])[^\]|]*\])(?P<chordlength>[0-9]*/*[0-9]*)
  | (?P<note>(?P<acc>\^\^|\^|__|_|=)?(?P<letter>[A-Ga-gzxZX])(?P<octave>[',]*)(?P<length>[0-9]*/*[0-9]*))
  | (?P<broken>[<>]+) | (?P<tie>-)
  | . | \n
""", re.VERBOSE)
_TIMES = {2: 3, 3: 2, 4: 3, 6: 2, 8: 3}


class _Reader:
    """The state of reading one tune's body."""

    def __init__(self, tune: Tune, unit: Fraction | None):
        self.tune, self.fixed_unit = tune, unit
        self.signature: dict[str, int] = {}
        self.accidentals: dict[str, int] = {}
        self.tied_accidental: dict[str, int] = {}
        self.measure: Measure[Event] = Measure()
        self.meter = tune.meter
        self.unit = unit or self.default_unit()
        self.tuplet_left, self.tuplet = 0, Fraction(1)
        self.broken = Fraction(1)

    def default_unit(self) -> Fraction:
        """L: from M:, as the standard says: a sixteenth below 3/4, otherwise an eighth."""
        meter = self.meter
        return Fraction(1, 16) if meter and Fraction(meter.beats, meter.unit) < Fraction(3, 4) else Fraction(1, 8)

    def field(self, name: str, value: str, started: bool) -> None:
        value = value.split("%")[0].strip()
        if name == "K":
            key, self.signature = read_key(value)
            self.accidentals = {}
            self.tune.key = self.tune.key or key
        elif name == "M":
            meter = read_meter(value)
            self.tune.meter_changes += started and meter != self.meter
            self.meter = meter
            if not started:
                self.tune.meter = meter
            if not self.fixed_unit:
                self.unit = self.default_unit()
        elif name == "L":
            found = re.match(r"(\d+)\s*/\s*(\d+)", value)
            if found and int(found[1]) and int(found[2]):
                self.unit = self.fixed_unit = Fraction(int(found[1]), int(found[2]))
        elif name == "Q" and not started:
            self.tune.tempo = read_tempo(value)

    def line(self, text: str) -> None:
        for found in _TOKEN.finditer(text):
            kind = found.lastgroup
            if found["note"] or found["chord"]:
                self.note(found)
            elif found["ending"] is not None:
                self.measure.endings = read_passes(found["passes"])
            elif found["bar"]:
                self.bar(found["bar"])
            elif found["tuplet"]:
                p = int(found["tuplet"])
                q = int(found["time"] or 0) or _TIMES.get(p, 3 if self.meter and self.meter.compound else 2)
                self.tuplet, self.tuplet_left = Fraction(q, p), min(int(found["many"] or 0) or p, 32)
            elif found["broken"]:
                self.break_rhythm(found["broken"])
            elif found["tie"]:
                self.tie()
            elif kind is None and re.match(r"\[\s*[A-Za-z]:", found[0]):
                inner = found[0][1:-1].strip()
                self.field(inner[0], inner[2:], started=bool(self.tune.measures or self.measure.items))

    def note(self, found: re.Match[str]) -> None:
        pitch: int | None
        if found["chord"]:
            inner = [m for m in _TOKEN.finditer(found["chord"][1:-1]) if m["note"]]
            if not inner:
                return
            pitch = max((p for m in inner if (p := self.pitch(m)) is not None), default=None)
            duration = read_length(inner[0]["length"]) * read_length(found["chordlength"])
        else:
            pitch, duration = self.pitch(found), read_length(found["length"])
        duration *= self.unit
        if found["letter"] in ("Z", "X") and not found["chord"]:
            whole = Fraction(self.meter.beats, self.meter.unit) if self.meter else Fraction(1)
            duration = read_length(found["length"]) * whole
        if self.tuplet_left:
            duration *= self.tuplet
            self.tuplet_left -= 1
        duration, self.broken = duration * self.broken, Fraction(1)
        if not 0 < duration <= MAX_DURATION:
            raise SeqtutorError(f"tune {self.tune.number or '?'}: a note {found[0]!r} lasts {duration} whole notes")
        self.measure.items.append(Event(pitch, duration))

    def pitch(self, found: re.Match[str]) -> int | None:
        letter = found["letter"]
        if letter in "zxZX":
            return None
        name = letter.upper()
        last = self.last()
        if found["acc"]:
            self.accidentals[name] = {"^^": 2, "^": 1, "=": 0, "_": -1, "__": -2}[found["acc"]]
        tied = self.tied_accidental.pop(name, None) if last and last.tied else None
        alteration = self.accidentals.get(name, self.signature.get(name, 0)) if tied is None or found["acc"] else tied
        octave = found["octave"].count("'") - found["octave"].count(",") + (1 if letter.islower() else 0)
        self.last_letter, self.last_alteration = name, alteration
        pitch = 60 + 12 * octave + WHITE[LETTERS.index(name)] + alteration
        return pitch if 0 <= pitch <= 127 else None

    def last(self) -> Event | None:
        if self.measure.items:
            return self.measure.items[-1]
        return next((m.items[-1] for m in reversed(self.tune.measures) if m.items), None)

    def tie(self) -> None:
        last = self.last()
        if last and last.pitch is not None:
            last.tied = True
            self.tied_accidental = {self.last_letter: self.last_alteration}

    def break_rhythm(self, signs: str) -> None:
        last = self.last()
        if not last or len(signs) > 3:
            return
        small = Fraction(1, 2 ** len(signs))
        before, self.broken = (2 - small, small) if signs[0] == ">" else (small, 2 - small)
        last.duration *= before

    def bar(self, sign: str) -> None:
        sign = sign.replace("[", "").replace("]", "")
        closes, opens = sign.startswith(":"), sign.endswith(":") and len(sign) > 1
        if set(sign) == {":"}:
            closes = opens = True
        self.accidentals = {}
        if self.measure.items or self.measure.endings:
            self.measure.closes = closes
            self.measure.final = "||" in sign or closes or opens
            self.tune.measures.append(self.measure)
            self.measure = Measure()
        elif closes and self.tune.measures:
            self.tune.measures[-1].closes = self.tune.measures[-1].final = True
        self.measure.opens = self.measure.opens or opens

    def finish(self) -> None:
        if self.measure.items:
            self.tune.measures.append(self.measure)


def read_tunes(text: str) -> Iterator[Tune]:
    """Every tune of ABC ``text`` (first voice only), in order. Raises SeqtutorError at a tune that cannot be read."""
    for part in re.split(r"(?m)^(?=X:)", text.replace("\r\n", "\n").replace("\r", "\n")):
        if re.search(r"(?m)^K:", part):
            yield read_tune(part)


def read_tune(text: str) -> Tune:
    """One tune from its X: field (or first header field) on."""
    tune = Tune()
    reader = _Reader(tune, None)
    header, voice, skipping = True, "", False
    for line in re.sub(r"\\[ \t]*(%.*)?\n", "", text).split("\n"):
        found = re.match(r"([A-Za-z]):(.*)", line)
        if found and (header or found[1] in "KMLTPQVWwXNRSZ" or found[1] not in "ABCDEFGabcdefg"):
            name, value = found[1], found[2].strip()
            if name == "V" and not header:
                voice = voice or value.split()[0] if value else voice
                skipping = bool(value) and value.split()[0] != voice
            elif name == "X":
                tune.number = value
            elif name == "T":
                tune.title = tune.title or value
            elif not skipping:
                reader.field(name, value, started=not header)
            header = header and name != "K"
        elif not header and not skipping and not line.startswith("%"):
            reader.line(re.sub(r"(?<!\\)%.*", "", line))
    reader.finish()
    return tune


def read_length(text: str) -> Fraction:
    """A note length as a multiple of the unit: "" 1, "3" 3, "/" 1/2, "3/2", "//" 1/4."""
    if "/" not in text:
        return Fraction(int(text or 1)) if len(text) < 5 else Fraction(MAX_DURATION * 64)
    over, slashes, under = re.fullmatch(r"(\d*)(/+)(\d*)", text).groups()  # type: ignore[union-attr]
    if len(over) > 4 or len(under) > 4 or len(slashes) > 6:
        raise SeqtutorError(f"a note length {text[:20]!r} is not one")
    return Fraction(int(over or 1), (int(under) or 1) if under else 2 ** len(slashes))


def read_passes(text: str) -> frozenset[int]:
    """The passes of an ending: "1", "1,3", "1-3"."""
    passes: set[int] = set()
    for part in text.strip(",-").split(","):
        ends = [int(n) for n in part.split("-") if n][:2]
        passes.update(range(ends[0], min(ends[-1], 16) + 1) if ends else ())
    return frozenset(passes)


def read_meter(text: str) -> Meter | None:
    """M: as a metre; None when free or additive."""
    try:
        return parse_meter(text)
    except UsageError:
        return None


def read_tempo(text: str) -> float | None:
    """Q: in quarter notes a minute: "1/4=120", "3/8=60", "120"; None when it gives none in 10…500."""
    found = re.search(r"(?:(\d+)\s*/\s*(\d+)\s*=\s*)?(\d{1,3}(?:\.\d+)?)", re.sub(r'"[^"]*"', "", text))
    if not found or (found[2] and not int(found[2])):
        return None
    tempo = float(found[3]) * (4 * int(found[1]) / int(found[2]) if found[1] else 1)
    return tempo if 10 <= tempo <= 500 else None


def read_key(text: str) -> tuple[Key, dict[str, int]]:
    """K: as a key and the alteration of each letter. "HP"/"Hp" is the pipes' D major; anything else unreadable is C."""
    found = re.match(r"\s*([A-G])([#b]?)\s*([A-Za-z]*)(.*)", text)
    if text.strip().lower() == "hp":
        found = re.match(r"([A-G])([#b]?)\s*([A-Za-z]*)(.*)", "Amix")
    mode, rest = "ionian", ""
    if found:
        mode, rest = found[3], found[4]
        try:
            mode = "aeolian" if mode == "m" else find_mode(mode[:3])
        except UsageError:
            mode, rest = "ionian", ("" if mode == "clef" else found[4])
    key = Key(found[1] + found[2], mode) if found else Key("C")
    if abs(key.fifths) > 7:
        key = Key("C")
    sharps = key.fifths
    signature = dict.fromkeys("FCGDAEB"[:sharps] if sharps > 0 else "BEADGCF"[:-sharps], 1 if sharps > 0 else -1)
    for sign, letter in re.findall(r"(?<!\w)(\^\^|\^|__|_|=)([A-Ga-g])", rest):
        signature[letter.upper()] = {"^^": 2, "^": 1, "=": 0, "_": -1, "__": -2}[sign]
    return key, signature
