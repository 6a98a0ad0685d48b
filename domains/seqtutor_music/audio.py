"""Sound: WAV and OGG through midirenderer and soundfile (extra ``audio``), else pretty_midi's own synthesiser."""

from __future__ import annotations

import io
import wave
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from seqtutor.domain import SeqtutorError
from seqtutor_music import midi
from seqtutor_music.arrangement import Arrangement
from seqtutor_music.extras import need

RATE = 48000  # samples a second, what midirenderer gives
PEAK = 0.89  # of full scale
RING, FADE = 1.5, 0.5  # seconds that the last notes have to die away, the last of them faded out
_MIRROR = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def samples(arrangement: Arrangement) -> NDArray[np.float32]:
    """The sound as float32 [samples, 2] in −1…1 at :data:`RATE`, with the soundfont that pretty_midi ships: the melody
    to its last bar line, and :data:`RING` seconds more."""
    try:
        import midirenderer
        import pretty_midi
    except ImportError:
        return plain_samples(arrangement)
    font = Path(pretty_midi.__file__).with_name("TimGM6mb.sf2")
    rendered = midirenderer.render_wave_from(font.read_bytes(), midi.to_bytes(arrangement, _ring(arrangement)))
    with wave.open(io.BytesIO(bytes(rendered))) as file:
        data = np.frombuffer(file.readframes(file.getnframes()), dtype="<i2")
        if file.getframerate() != RATE:
            raise SeqtutorError(f"midirenderer gave {file.getframerate()} samples a second, expected {RATE}; run: "
                                "pip install 'seqtutor[audio]'")
        sound = np.asarray(data.reshape(-1, file.getnchannels()) / 32768, dtype=np.float32)
    return _scaled(np.concatenate([sound, sound], axis=1) if sound.shape[1] == 1 else sound)


def plain_samples(arrangement: Arrangement) -> NDArray[np.float32]:
    """The sound of triangle waves, without the extra, float32 [samples, 2]."""
    song = midi.to_pretty_midi(arrangement)

    def triangle(phase: NDArray[np.float64]) -> NDArray[np.float64]:
        found: NDArray[np.float64] = 2 / np.pi * np.arcsin(np.sin(phase))
        return found

    sound: NDArray[np.float32] = np.asarray(song.synthesize(fs=RATE, wave=triangle), dtype=np.float32)
    end = (midi.lead_in(arrangement.melody) + arrangement.melody.padded().length) * 15 / arrangement.melody.tempo
    whole = round((end + RING) * RATE)
    sound = np.pad(sound[:whole], (0, max(0, whole - len(sound))))
    return _scaled(np.stack([sound, sound], axis=1))


def _ring(arrangement: Arrangement) -> int:
    """:data:`RING` in ticks."""
    return round(RING * arrangement.melody.tempo / 60 * midi.TICKS)


def _scaled(sound: NDArray[np.float32]) -> NDArray[np.float32]:
    """``sound`` at :data:`PEAK`, faded out at its end."""
    fade = min(len(sound), round(FADE * RATE))
    sound[len(sound) - fade:] *= np.linspace(1, 0, fade, dtype=np.float32)[:, None]
    peak = float(np.abs(sound).max(initial=0.0))
    scaled: NDArray[np.float32] = (sound * (PEAK / peak if peak else 1.0)).astype(np.float32)
    return scaled


def wav_bytes(arrangement: Arrangement) -> bytes:
    """A 16-bit stereo WAV file."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes((samples(arrangement) * 32767).astype("<i2").tobytes())
    return buffer.getvalue()


def ogg_bytes(arrangement: Arrangement) -> bytes:
    """An OGG Vorbis file; the same arrangement gives the same bytes."""
    soundfile = need("soundfile", "audio", "OGG")
    buffer = io.BytesIO()
    soundfile.write(buffer, samples(arrangement), RATE, format="OGG", subtype="VORBIS")
    return _renumbered(buffer.getvalue())


def _renumbered(ogg: bytes) -> bytes:
    """An OGG file with 1 for its stream's number, which the encoder draws at random, and checksums to match (RFC 3533,
    section 6: CRC-32 with zlib's polynomial, bits in the other order, start and end not inverted)."""
    pages, at = bytearray(ogg), 0
    while at < len(pages):
        segments = pages[at + 26]
        end = at + 27 + segments + sum(pages[at + 27:at + 27 + segments])
        pages[at + 14:at + 18] = (1).to_bytes(4, "little")
        pages[at + 22:at + 26] = bytes(4)
        check = zlib.crc32(pages[at:end].translate(_MIRROR), 0xFFFFFFFF) ^ 0xFFFFFFFF
        pages[at + 22:at + 26] = int(f"{check:032b}"[::-1], 2).to_bytes(4, "little")
        at = end
    return bytes(pages)
