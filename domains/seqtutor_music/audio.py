"""Sound: WAV and OGG through midirenderer and soundfile (extra ``audio``), else pretty_midi's own synthesiser."""

from __future__ import annotations

import io
import wave
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from seqtutor.domain import SeqtutorError
from seqtutor_music import midi
from seqtutor_music.arrangement import Arrangement
from seqtutor_music.extras import need

RATE = 48000  # samples a second, what midirenderer gives
PEAK = 0.89  # of full scale


def samples(arrangement: Arrangement) -> NDArray[np.float32]:
    """The sound as float32 [samples, 2] in −1…1 at :data:`RATE`, with the soundfont that pretty_midi ships."""
    try:
        import midirenderer
        import pretty_midi
    except ImportError:
        return plain_samples(arrangement)
    font = Path(pretty_midi.__file__).with_name("TimGM6mb.sf2")
    rendered = midirenderer.render_wave_from(font.read_bytes(), midi.to_bytes(arrangement))
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
    return _scaled(np.stack([sound, sound], axis=1))


def _scaled(sound: NDArray[np.float32]) -> NDArray[np.float32]:
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
    """An OGG Vorbis file."""
    soundfile = need("soundfile", "audio", "OGG")
    buffer = io.BytesIO()
    soundfile.write(buffer, samples(arrangement), RATE, format="OGG", subtype="VORBIS")
    return buffer.getvalue()
