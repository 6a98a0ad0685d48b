"""Reads MusicXML (also compressed .mxl) into a tune: one part's first voice, with ties, repeats and endings."""

from __future__ import annotations

import io
import zipfile
from fractions import Fraction
from xml.etree import ElementTree

from seqtutor.domain import SeqtutorError, UsageError, nearest
from seqtutor_music.abc_reader import read_passes
from seqtutor_music.keys import LETTERS, MODES, WHITE, find_mode, key_of
from seqtutor_music.meter import Meter
from seqtutor_music.repeats import Measure
from seqtutor_music.tune import Event, Tune

LARGEST = 32 * 2**20  # bytes of XML
MAX_NOTE = 64  # whole notes
_TYPES = {"whole": Fraction(1), "half": Fraction(1, 2), "quarter": Fraction(1, 4), "eighth": Fraction(1, 8),
          "16th": Fraction(1, 16)}


def read(data: bytes, track: str | None = None) -> Tune:
    """The tune in a MusicXML file's bytes; ``track``: a part by number from 1 or by name.

    Raises SeqtutorError when it is none, UsageError for a part that is none.
    """
    root = _parse(_unpacked(data))
    if root.tag == "score-timewise":
        raise SeqtutorError("the MusicXML is timewise; save it partwise, as programs do by default")
    parts = [part for part in root.iter("part") if part.find("measure") is not None]
    if not parts:
        raise SeqtutorError("the MusicXML holds no part with measures")
    names = {p.get("id") or "": p.findtext("part-name") or p.get("id") or "" for p in root.iter("score-part")}
    part = _pick(parts, [names.get(p.get("id", ""), "") for p in parts], track)
    tune = Tune(title=(root.findtext("work/work-title") or root.findtext("movement-title") or "")[:200])
    _Reader(tune).part(part)
    return tune


def _unpacked(data: bytes) -> bytes:
    """The score inside a compressed file, or ``data`` itself."""
    if data[:2] != b"PK":
        return data
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            scores = [info for info in archive.infolist() if info.filename.lower().endswith((".xml", ".musicxml"))
                      and not info.filename.startswith("META-INF")]
            if not scores or scores[0].file_size > LARGEST:
                raise SeqtutorError("the .mxl holds no score of readable size")
            with archive.open(scores[0]) as file:
                return file.read(LARGEST)
    except SeqtutorError:
        raise
    except Exception as error:  # BadZipFile, zlib.error and what else a damaged archive raises
        raise SeqtutorError(f"a damaged .mxl ({error})") from error


def _parse(data: bytes) -> ElementTree.Element:
    if len(data) > LARGEST:
        raise SeqtutorError(f"{len(data) / 2**20:.0f} MB of MusicXML; at most {LARGEST // 2**20} are read")
    if b"<!ENTITY" in data:
        raise SeqtutorError("the MusicXML declares entities, which are not read")
    try:
        return ElementTree.fromstring(data)
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise SeqtutorError(f"not MusicXML ({error})") from error


def _pick(parts: list[ElementTree.Element], names: list[str], wanted: str | None) -> ElementTree.Element:
    if wanted is None:
        return parts[0]
    if wanted.strip().isdecimal():
        if not 1 <= int(wanted) <= len(parts):
            raise UsageError(f"there is no part {wanted}; the file has {len(parts)}")
        return parts[int(wanted) - 1]
    for part, name in zip(parts, names, strict=True):
        if wanted.lower() in name.lower():
            return part
    raise nearest(wanted, names, "part")


class _Reader:
    """The state of reading one part."""

    def __init__(self, tune: Tune):
        self.tune = tune
        self.divisions = 1
        self.transpose = 0
        self.voice: str | None = None
        self.meter: Meter | None = None
        self.opens_next = False

    def part(self, part: ElementTree.Element) -> None:
        for element in part.findall("measure"):
            measure: Measure[Event] = Measure()
            for child in element:
                if child.tag == "attributes":
                    self.attributes(child)
                elif child.tag == "note":
                    self.note(child, measure)
                elif child.tag == "forward" and child.findtext("voice") in (None, self.voice) and self.voice:
                    self.add(measure, None, self.duration(child))
                elif child.tag == "barline":
                    self.barline(child, measure)
                elif child.tag in ("direction", "sound"):
                    self.sound(child)
            self.tune.measures.append(measure)

    def attributes(self, element: ElementTree.Element) -> None:
        self.divisions = max(1, _int(element.findtext("divisions"), self.divisions))
        self.transpose = _int(element.findtext("transpose/chromatic"), self.transpose)
        fifths = element.findtext("key/fifths")
        if fifths is not None and self.tune.key is None and abs(_int(fifths, 0)) <= 7:
            try:
                mode = find_mode(element.findtext("key/mode") or "major")
            except UsageError:
                mode = "ionian"
            self.tune.key = next((key for p in range(12) for key in [key_of(p, mode)]
                                  if (key.fifths - _int(fifths, 0)) % 12 == 0 and mode in MODES), None)
        beats, unit = _int(element.findtext("time/beats"), 0), _int(element.findtext("time/beat-type"), 0)
        if 1 <= beats <= 32 and unit in (1, 2, 4, 8, 16):
            meter = Meter(beats, unit)
            self.tune.meter_changes += self.meter not in (None, meter)
            self.meter = meter
            self.tune.meter = self.tune.meter or meter

    def duration(self, element: ElementTree.Element) -> Fraction:
        length = _int(element.findtext("duration"), 0)
        if length <= 0 and element.findtext("type") in _TYPES:
            return _TYPES[element.findtext("type") or ""]
        found = Fraction(max(0, length), self.divisions * 4)
        if found > MAX_NOTE:
            raise SeqtutorError(f"a note lasts {float(found):.0f} whole notes")
        return found

    def note(self, element: ElementTree.Element, measure: Measure[Event]) -> None:
        voice = element.findtext("voice") or "1"
        if element.find("grace") is not None or element.find("cue") is not None:
            return
        self.voice = self.voice or voice
        if voice != self.voice:
            return
        pitch = self.pitch(element)
        if element.find("chord") is not None:
            if measure.items and pitch is not None and (measure.items[-1].pitch or 0) < pitch:
                measure.items[-1].pitch = pitch
            return
        tied = any(tie.get("type") == "start" for tie in element.findall("tie")) and pitch is not None
        self.add(measure, pitch, self.duration(element), tied)

    def pitch(self, element: ElementTree.Element) -> int | None:
        letter = (element.findtext("pitch/step") or "").strip().upper()
        if letter not in LETTERS or not letter:
            return None
        alteration = max(-2, min(2, round(_float(element.findtext("pitch/alter")))))
        octave = _int(element.findtext("pitch/octave"), 4)
        pitch = WHITE[LETTERS.index(letter)] + alteration + 12 * (octave + 1) + self.transpose
        return pitch if 0 <= pitch <= 127 else None

    def add(self, measure: Measure[Event], pitch: int | None, duration: Fraction, tied: bool = False) -> None:
        if duration > 0:
            measure.items.append(Event(pitch, duration, tied))

    def barline(self, element: ElementTree.Element, measure: Measure[Event]) -> None:
        repeat = element.find("repeat")
        if repeat is not None and repeat.get("direction") == "forward":
            measure.opens = True
        elif repeat is not None:
            measure.closes = measure.final = True
        ending = element.find("ending")
        if ending is not None and ending.get("type") == "start":
            number = "".join(c for c in ending.get("number", "1") if c.isdecimal() or c in ",-")[:12]
            measure.endings = read_passes(number or "1")
        elif ending is not None:
            measure.final = True
        if (element.findtext("bar-style") or "").startswith("light-"):
            measure.final = True

    def sound(self, element: ElementTree.Element) -> None:
        sound = element if element.tag == "sound" else element.find("sound")
        tempo = _float(sound.get("tempo") if sound is not None else None)
        if self.tune.tempo is None and 10 <= tempo <= 500:
            self.tune.tempo = tempo


def _int(text: str | None, default: int) -> int:
    """A whole number of at most nine digits, ``default`` for anything else."""
    try:
        return int(text) if text is not None and len(text.strip()) <= 9 else default
    except ValueError:
        return default


def _float(text: str | None) -> float:
    """A number of at most twelve characters, 0 for anything else."""
    try:
        value = float(text) if text is not None and len(text.strip()) <= 12 else 0.0
    except ValueError:
        return 0.0
    return value if abs(value) < 1e6 else 0.0
